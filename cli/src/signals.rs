//! Signals that ask to stop, the same on every runtime.

use async_signal::Signal;
use smol::stream::StreamExt as _;

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Ctrl-C.
    Interrupted,
    /// Somebody asked the process to end.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is only Ctrl-C elsewhere"))]
    Terminated,
    /// The terminal is gone.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is only Ctrl-C elsewhere"))]
    HungUp,
}

impl Interrupt {
    /// The exit code that shells give to a process that died of the signal.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
        }
    }

    /// What happened, in a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::HungUp => "hung up",
        }
    }
}

/// The signals of this process, from now on.
pub(crate) struct Signals {
    signals: async_signal::Signals,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        let taken = [Signal::Int, Signal::Term, Signal::Hup];
        #[cfg(not(unix))]
        let taken = [Signal::Int];
        Ok(Self { signals: async_signal::Signals::new(taken)? })
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Interrupt {
        match self.signals.next().await {
            #[cfg(unix)]
            Some(Ok(Signal::Term)) => Interrupt::Terminated,
            #[cfg(unix)]
            Some(Ok(Signal::Hup)) => Interrupt::HungUp,
            Some(Ok(_)) => Interrupt::Interrupted,
            // They cannot be heard any more, so this process can only be killed.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}
