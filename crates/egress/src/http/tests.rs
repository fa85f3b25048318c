//! End to end over loopback: a program's socket on one side, real servers on the other, the door between them.

mod cached;
mod failures;
mod floods;
mod forward;
mod h2;
mod malformed;
mod renewal;
mod secrets;
mod support;
mod websocket;
