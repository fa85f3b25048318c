//! The seal in real namespaces, as root and as an ordinary user. The listeners are served by this
//! process, outside; the clients are a forked child, inside.

mod refusals;
mod routes;
mod steering;
mod world;
