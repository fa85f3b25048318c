use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(connect, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn limits(idle: Duration) -> TunnelLimits {
    TunnelLimits {
        idle,
        most_bytes: None,
    }
}

/// (program, upstream, the tunnel's end)
async fn tunnel(
    limits: TunnelLimits,
) -> (
    TcpStream,
    TcpStream,
    Arc<Meter>,
    tokio::task::JoinHandle<TunnelEnd>,
) {
    let (program, inner) = pair().await;
    let (outer, upstream) = pair().await;
    let meter = Arc::new(Meter::default());
    let of_task = Arc::clone(&meter);
    let task = tokio::spawn(async move { run(&inner, &outer, &of_task, limits).await });
    (program, upstream, meter, task)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[tokio::test]
async fn carries_small_and_large_both_ways_with_half_close() {
    let (mut program, mut upstream, meter, task) = tunnel(limits(Duration::from_secs(20))).await;
    let (small, large) = (pattern(10), pattern(5_000_000));
    let expected = large.clone();
    let echo = tokio::spawn(async move {
        let mut got = Vec::new();
        upstream.read_to_end(&mut got).await.unwrap();
        // The program has finished sending; the other direction still works, and large, too.
        upstream.write_all(&got).await.unwrap();
        upstream.shutdown().await.unwrap();
        got.len()
    });
    program.write_all(&small).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    program.write_all(&large).await.unwrap();
    program.shutdown().await.unwrap();
    let mut back = Vec::new();
    program.read_to_end(&mut back).await.unwrap();
    assert_eq!(echo.await.unwrap(), 5_000_010);
    assert_eq!(back[..10], small);
    assert!(back[10..] == expected);
    assert!(matches!(task.await.unwrap(), TunnelEnd::Closed));
    assert_eq!((meter.up(), meter.down()), (5_000_010, 5_000_010));
}

#[tokio::test]
async fn a_silent_tunnel_ends_and_resets_both() {
    let (mut program, mut upstream, _, task) = tunnel(limits(Duration::from_millis(150))).await;
    program.write_all(b"x").await.unwrap();
    assert!(matches!(task.await.unwrap(), TunnelEnd::Idle));
    let error = program.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    upstream.read_u8().await.unwrap();
    let error = upstream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let (mut program, upstream, _, task) = tunnel(limits(Duration::from_secs(20))).await;
    reset_on_close(&upstream);
    drop(upstream);
    assert!(matches!(task.await.unwrap(), TunnelEnd::Broken(_)));
    assert_eq!(
        program.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn an_endless_stream_is_cut() {
    let limits = TunnelLimits {
        idle: Duration::from_secs(20),
        most_bytes: Some(1_000_000),
    };
    let (mut program, mut upstream, meter, task) = tunnel(limits).await;
    let endless =
        tokio::spawn(async move { while upstream.write_all(&[0; 10_000]).await.is_ok() {} });
    let mut got = 0;
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = program.read(&mut buffer).await {
        got += read;
    }
    assert!(matches!(task.await.unwrap(), TunnelEnd::TooMuch));
    assert!(got <= 1_000_000, "{got}");
    assert!(meter.down() <= 1_000_000 + PIPE as u64);
    endless.await.unwrap();
}
