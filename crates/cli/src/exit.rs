//! How the process ends: 0 done, 1 refused or failed, 2 wrong use, 3 no broker could be reached.
//!
//! The only place that turns an error into an exit code; commands say by the type of an error whose fault it is.

use std::io;
use std::process::ExitCode;

use ottla_client::{ConfigError, Error};

/// The user's mistake, found after the arguments were read: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// No broker answers where one was expected: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// What went wrong stands on stderr already; only the exit code is left to tell.
#[derive(Debug, thiserror::Error)]
#[error("failures were told before")]
pub struct Told(pub u8);

/// An error of wrong use.
pub fn usage<T>(reason: impl Into<String>) -> anyhow::Result<T> {
    Err(Usage(reason.into()).into())
}

/// Prints what went wrong, a line for each thing, and gives the exit code.
pub fn end(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        // The reader of a pipe has seen enough.
        return ExitCode::SUCCESS;
    }
    if !error.is::<Told>() {
        tell(&error);
    }
    ExitCode::from(code(&error))
}

/// Prints an error on stderr. Settings may be wrong in several places, a line for each.
pub fn tell(error: &anyhow::Error) {
    for line in text(error).lines() {
        eprintln!("error: {line}");
    }
}

/// An error and its causes, without those that it names itself.
pub fn text(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match () {
        () if text.is_empty() => cause,
        () if text.ends_with(&cause) => text,
        () => format!("{text}: {cause}"),
    })
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(Told(code)) = cause.downcast_ref() {
            return *code;
        }
        if cause.is::<Usage>() || cause.is::<ConfigError>() {
            return 2;
        }
        if cause.is::<Unreachable>() {
            return 3;
        }
        match cause.downcast_ref() {
            Some(Error::Config(_) | Error::Invalid(_) | Error::RecordTooLarge { .. }) => return 2,
            Some(Error::Disconnected { .. } | Error::TimedOut { .. } | Error::Malformed { .. }) => return 3,
            _ => {}
        }
    }
    1
}

/// Whether the reader of what is written has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(broken)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use ottla_model::ErrorCode;

    use super::*;

    #[test]
    fn codes_tell_whose_fault_it_is() {
        let with_context = |error: anyhow::Error| Err::<(), _>(error).context("create orders").unwrap_err();
        let disconnected = Error::Disconnected { node: "a:1".into(), reason: "refused".into() };
        assert_eq!(code(&with_context(Error::from(ErrorCode::TopicAlreadyExists).into())), 1);
        assert_eq!(code(&with_context(Usage("no".into()).into())), 2);
        assert_eq!(code(&with_context(Error::invalid("no").into())), 2);
        assert_eq!(code(&with_context(disconnected.into())), 3);
        assert_eq!(code(&with_context(Unreachable("no".into()).into())), 3);
        assert_eq!(code(&with_context(anyhow::anyhow!("disk full"))), 1);
        assert_eq!(code(&Told(3).into()), 3);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(gone()).context("write records")));
        assert!(is_broken_pipe(&serde_json::Error::io(gone()).into()));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::StorageFull).into()));
    }
}
