//! Arbitrary events, for property tests.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(crate) fn events(at_most: usize) -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 0..=at_most)
}

/// Strings of any characters, many of them the ones that break log lines and terminals.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z/]{0,20}",
        vec(
            prop::sample::select(&[
                '\0',
                '\r',
                '\n',
                '\x1b',
                '"',
                '\\',
                '\u{7f}',
                '\u{9b}',
                '\u{202e}',
                '\u{2028}',
                '\u{e0041}',
                'a',
            ]),
            0..8
        )
        .prop_map(String::from_iter),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Allowed), text().prop_map(Verdict::denied)]
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Status),
        any::<i32>().prop_map(Exit::Signal)
    ]
}

fn destination() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn event() -> impl Strategy<Value = Event> {
    // Boxed: all of them in one value are more than a test's stack holds.
    prop_oneof![
        files().boxed(),
        lifecycle().boxed(),
        network().boxed(),
        model().boxed(),
        processes().boxed()
    ]
}

fn files() -> impl Strategy<Value = Event> {
    let sizes = (option::of(any::<u64>()), option::of(any::<u64>()));
    let kinds = (
        prop::sample::select(&[ChangeKind::Added, ChangeKind::Removed, ChangeKind::LeftOut]),
        prop::sample::select(&[FileType::File, FileType::Symlink, FileType::Other]),
    );
    let file = (text(), kinds, sizes).prop_map(|(path, (change, file), (before, after))| {
        let sha256 = after.map(|_| crate::Digest::of(path.as_bytes()));
        FileChange {
            path,
            change,
            file,
            before,
            after,
            sha256,
        }
    });
    let of = prop::sample::select(&[FilesOf::Clone, FilesOf::Overlay, FilesOf::Home]);
    let unknown = option::of(text());
    (text(), of, any::<[u64; 7]>(), vec(file, 0..4), unknown).prop_map(
        |(place, of, counts, files, unknown)| {
            let [
                added,
                changed,
                removed,
                left_out,
                ignored,
                unreadable,
                further,
            ] = counts;
            Event::FilesChanged(FilesChanged {
                place,
                of,
                added,
                changed,
                removed,
                left_out,
                ignored,
                unreadable,
                files,
                further,
                unknown,
            })
        },
    )
}

fn lifecycle() -> impl Strategy<Value = Event> {
    let mode = prop::sample::select(&[PrivilegeMode::Root, PrivilegeMode::Rootless]);
    let causes = [
        StopCause::Exited,
        StopCause::Requested,
        StopCause::SupervisorLost,
    ];
    let kept = (text(), text()).prop_map(|(what, path)| Kept { what, path });
    let torn = (any::<u64>(), text()).prop_map(|(bytes, kept_as)| TornTail {
        bytes,
        sha256: crate::Digest::of(kept_as.as_bytes()),
        kept_as,
    });
    prop_oneof![
        (
            text(),
            vec(text(), 0..4),
            text(),
            any::<u32>(),
            mode,
            vec(text(), 0..3)
        )
            .prop_map(|(name, command, workspace, uid, mode, enforced)| {
                let wardian = "0.1.0".into();
                Event::SandboxStarted(SandboxStarted {
                    name,
                    command,
                    workspace,
                    uid,
                    mode,
                    wardian,
                    enforced,
                })
            }),
        (text(), any::<u64>())
            .prop_map(|(text, rules)| Event::PolicyInForce(PolicyInForce::new(text, rules))),
        (vec(text(), 0..4), vec(text(), 0..2))
            .prop_map(|(passed, failed)| Event::SelfProbe(SelfProbe { passed, failed })),
        (text(), text(), text()).prop_map(|(limit, requested, why)| Event::LimitNotEnforced(
            LimitNotEnforced {
                limit,
                requested,
                why
            }
        )),
        (text(), text(), text()).prop_map(|(limit, value, action)| Event::LimitReached(
            LimitReached {
                limit,
                value,
                action
            }
        )),
        (any::<u64>(), vec(text(), 0..4), any::<u32>()).prop_map(|(command, argv, pid)| {
            Event::CommandStarted(CommandStarted {
                command: Command(command),
                argv,
                pid,
            })
        }),
        (any::<u64>(), exit(), any::<u64>()).prop_map(|(command, exit, milliseconds)| {
            Event::CommandExited(CommandExited {
                command: Command(command),
                exit,
                milliseconds,
            })
        }),
        option::of(torn).prop_map(|torn| Event::JournalReopened(JournalReopened { torn })),
        (
            prop::sample::select(causes.to_vec()),
            option::of(exit()),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            vec(kept, 0..3)
        )
            .prop_map(|(cause, exit, milliseconds, allowed, denied, kept)| {
                Event::SandboxStopped(SandboxStopped {
                    cause,
                    exit,
                    milliseconds,
                    allowed,
                    denied,
                    kept,
                })
            }),
    ]
}

fn processes() -> impl Strategy<Value = Event> {
    let asked = (
        any::<u32>(),
        any::<u32>(),
        text(),
        vec(text(), 0..4),
        text(),
        any::<bool>(),
        option::of(text()),
    );
    prop_oneof![
        asked.prop_map(
            |(pid, parent, executable, arguments, directory, truncated, unreadable)| {
                Event::ProcessStarted(ProcessStarted {
                    pid,
                    parent,
                    executable,
                    arguments,
                    directory,
                    truncated,
                    unreadable,
                })
            }
        ),
        (any::<u32>(), text(), vec(text(), 0..4), any::<bool>()).prop_map(
            |(pid, executable, arguments, truncated)| {
                Event::ProcessFound(ProcessFound {
                    pid,
                    executable,
                    arguments,
                    truncated,
                })
            }
        ),
        (any::<u32>(), option::of(exit()), any::<u64>()).prop_map(|(pid, exit, milliseconds)| {
            Event::ProcessExited(ProcessExited {
                pid,
                exit,
                milliseconds,
            })
        }),
        (option::of(text()), any::<u64>()).prop_map(|(executable, count)| {
            Event::FurtherProcesses(FurtherProcesses { executable, count })
        }),
        text().prop_map(|why| Event::ProcessesUnseen(ProcessesUnseen { why })),
    ]
}

fn network() -> impl Strategy<Value = Event> {
    let id = || any::<u64>().prop_map(ConnectionId);
    let request_id = || any::<u64>().prop_map(RequestId);
    let purpose = || {
        prop_oneof![
            request_id().prop_map(|request| CredentialPurpose::Request { request }),
            id().prop_map(|connection| CredentialPurpose::Proxy { connection }),
        ]
    };
    let transport = prop::sample::select(&[DnsTransport::Udp, DnsTransport::Tcp]);
    let mode = prop::sample::select(&[ConnectionMode::Inspect, ConnectionMode::None]);
    let host = prop_oneof![
        text().prop_map(HostFact::known),
        Just(HostFact::absent(HostAbsent::NotSynthetic)),
        Just(HostFact::absent(HostAbsent::NoSni)),
    ];
    let outcome = prop_oneof![
        Just(ResponseOutcome::Complete),
        Just(ResponseOutcome::ClientGone),
        text().prop_map(|reason| ResponseOutcome::UpstreamFailed { reason }),
        text().prop_map(|reason| ResponseOutcome::Cut { reason }),
    ];
    prop_oneof![
        (
            text(),
            text(),
            transport,
            option::of(any::<IpAddr>()),
            verdict()
        )
            .prop_map(|(question, record_type, transport, answer, verdict)| {
                Event::Dns(Dns {
                    question,
                    record_type,
                    transport,
                    answer,
                    verdict,
                })
            }),
        (
            id(),
            destination(),
            host,
            verdict(),
            option::of(text()),
            mode,
            option::of(text())
        )
            .prop_map(|(id, destination, host, verdict, rule, mode, protocol)| {
                Event::Connection(Connection {
                    id,
                    destination,
                    host,
                    verdict,
                    rule,
                    mode,
                    protocol,
                })
            }),
        (
            id(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            option::of(text())
        )
            .prop_map(|(id, bytes_up, bytes_down, milliseconds, cut)| {
                Event::ConnectionClosed(ConnectionClosed {
                    id,
                    bytes_up,
                    bytes_down,
                    milliseconds,
                    cut,
                })
            }),
        (
            option::of(id()),
            text(),
            text(),
            text(),
            option::of(any::<u16>())
        )
            .prop_map(|(connection, protocol, reason, detail, status)| {
                Event::ProtocolError(ProtocolError {
                    connection,
                    protocol,
                    reason,
                    detail,
                    status,
                })
            }),
        (
            text(),
            option::of(text()),
            option::of(any::<u16>()),
            any::<u64>(),
            text()
        )
            .prop_map(|(of, place, port, count, reason)| {
                Event::FurtherDenials(FurtherDenials {
                    of,
                    place,
                    port,
                    count,
                    verdict: Verdict::denied(reason),
                })
            }),
        (
            (
                request_id(),
                id(),
                any::<u16>(),
                option::of(any::<u16>()),
                verdict()
            ),
            (
                text(),
                text(),
                text(),
                text(),
                text(),
                option::of(text()),
                option::of(text())
            )
        )
            .prop_map(
                |(
                    (id, connection, port, status, verdict),
                    (method, scheme, host, path, version, upgrade, rule),
                )| {
                    Event::Request(Request {
                        id,
                        connection,
                        method,
                        scheme,
                        host,
                        port,
                        path,
                        version,
                        upgrade,
                        verdict,
                        rule,
                        status,
                    })
                }
            ),
        (
            request_id(),
            option::of(any::<u16>()),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            option::of(prop_oneof![
                Just(CacheUse::Hit),
                Just(CacheUse::Revalidated),
                Just(CacheUse::Stored)
            ]),
            outcome
        )
            .prop_map(
                |(request, status, bytes_up, bytes_down, milliseconds, cache, outcome)| {
                    Event::Response(Response {
                        request,
                        status,
                        bytes_up,
                        bytes_down,
                        milliseconds,
                        cache,
                        outcome,
                    })
                }
            ),
        (text(), purpose(), text(), option::of(text())).prop_map(
            |(credential, purpose, host, rule)| {
                Event::CredentialUsed(CredentialUsed {
                    credential,
                    purpose,
                    host,
                    rule,
                })
            }
        ),
    ]
}

fn model() -> impl Strategy<Value = Event> {
    let number = || option::of(any::<u64>());
    let tokens = (number(), number(), number(), number(), number(), number()).prop_map(
        |(input, output, cached_read, cached_write, cached_write_hour, reasoning)| ModelTokens {
            input,
            output,
            cached_read,
            cached_write,
            cached_write_hour,
            reasoning,
        },
    );
    let call = (text(), text()).prop_map(|(name, id)| ModelToolCall {
        arguments: crate::Digest::of(name.as_bytes()),
        name,
        id,
    });
    let conversation = any::<u64>().prop_map(|messages| ModelConversation {
        sha256: crate::Digest::of(&messages.to_le_bytes()),
        messages,
    });
    let texts = (
        text(),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
    );
    (
        texts,
        tokens,
        (any::<u64>(), number(), number(), any::<u64>(), any::<u64>()),
        (vec(call, 0..3), option::of(conversation), any::<bool>()),
    )
        .prop_map(|(texts, tokens, numbers, rest)| {
            let (api, model, answered_by, price, stop, error, undecoded) = texts;
            let (request, cost_micro_usd, first, milliseconds, further_tool_calls) = numbers;
            let (tool_calls, conversation, decoded) = rest;
            Event::ModelCall(Box::new(ModelCall {
                request: RequestId(request),
                api,
                model,
                answered_by,
                tokens,
                cost_micro_usd,
                price,
                milliseconds_to_first_token: first,
                milliseconds,
                stop,
                error,
                tool_calls,
                further_tool_calls,
                decoded,
                conversation_absent: undecoded.clone(),
                undecoded,
                conversation,
            }))
        })
}
