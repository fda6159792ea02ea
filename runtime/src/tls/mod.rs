//! The TLS adapter that every driver shares: rustls as bytes in, bytes out, without a socket.

mod context;
mod session;
mod verifier;

pub use context::{CertificateFileError, TlsContext, read_certificates};
pub use session::TlsSession;

use gosh_dl_core::base::link::TlsError;
use rustls::{CertificateError, Error};

/// What core calls the failure `error`.
fn tls_error(error: &Error) -> TlsError {
    let Error::InvalidCertificate(certificate) = error else { return TlsError::Protocol };
    match certificate {
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::WrongHost
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsError::Expired,
        // A self-signed certificate that is marked as an authority: nobody trusted issued it.
        _ if verifier::is_authority_as_server(error) => TlsError::UnknownIssuer,
        _ => TlsError::BadCertificate,
    }
}

#[cfg(test)]
mod tests;
