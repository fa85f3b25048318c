//! As whom `wardian` runs.

/// Each scenario runs in both modes, unless it says why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As uid 0 of the host. The suite must then run as root.
    Root,
    /// As an ordinary user: the test user if the suite runs as root, else whoever runs it.
    Rootless,
}

/// Makes a test `root::NAME` and a test `rootless::NAME` of each `fn NAME(mode: Mode)` named.
#[macro_export]
macro_rules! both_modes {
    ($($scenario:ident),+ $(,)?) => {
        mod root {
            $(#[test] fn $scenario() { super::$scenario($crate::mode::Mode::Root); })+
        }
        mod rootless {
            $(#[test] fn $scenario() { super::$scenario($crate::mode::Mode::Rootless); })+
        }
    };
}
