//! What the jail costs.

use std::time::Instant;

use crate::fixture::Fixture;
use crate::view;

#[test]
fn a_command_takes_milliseconds() {
    let fixture = Fixture::new();
    let view = view(&fixture);
    let git = fixture.git.on(&view);
    let id = fixture.session.id("HEAD");
    let started = Instant::now();
    const COUNT: u32 = 20;
    for _ in 0..COUNT {
        assert_eq!(git.existing(&[id]).unwrap().len(), 1);
    }
    let each = started.elapsed() / COUNT;
    println!("{each:?} each");
    // Far from what it takes, on a machine that is busy.
    assert!(each.as_millis() < 500);
}
