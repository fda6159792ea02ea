//! One TLS session.

use super::{TlsContext, tls_error};
use crate::buffers::BufferPool;
use bytes::{Buf as _, Bytes, BytesMut};
use gosh_dl_core::base::link::{LinkError, TlsError};
use rustls::Error;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, ReadTraffic, UnbufferedStatus, WriteTraffic,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// The client's end of a TLS session, as bytes: ciphertext from the socket goes in and plaintext comes out, and the
/// other way round. It does no I/O and keeps no memory while nothing is under way.
///
/// Records are decrypted in place in the buffer that the socket was read into, then copied once, while hot, into a
/// pooled buffer, where the plaintext of one read lies in one piece.
pub struct TlsSession {
    connection: UnbufferedClientConnection,
    /// Ciphertext that is not processed yet: at most the beginning of a record, between two reads.
    incoming: BytesMut,
    /// Ciphertext that the socket has not taken yet.
    outgoing: BytesMut,
    /// Plaintext that arrived.
    ready: VecDeque<BytesMut>,
    /// Plaintext that waits for the handshake to end.
    waiting: VecDeque<Bytes>,
    peer_closed: bool,
    closing: Closing,
    /// Set when the session has failed: rustls must not be asked again after it has made its alert.
    failed: Option<TlsError>,
}

/// How far this end has said that it sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Wanted,
    Said,
}

impl TlsSession {
    /// A session with the server of that name: a host name, or an IP address without brackets. The first handshake
    /// message is ready to be sent.
    ///
    /// # Errors
    ///
    /// [`TlsError::InvalidName`] if no certificate can be for such a name.
    pub fn new(context: &TlsContext, server_name: &str, pool: &BufferPool) -> Result<Self, TlsError> {
        let name = server_name.strip_suffix('.').unwrap_or(server_name).to_owned();
        let name = ServerName::try_from(name).map_err(|_not_a_name| TlsError::InvalidName)?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&context.config), name)
            .map_err(|error| tls_error(&error))?;
        let mut session = Self {
            connection,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            peer_closed: false,
            closing: Closing::No,
            failed: None,
        };
        session.process(pool)?;
        Ok(session)
    }

    /// Whether the peer's certificate is still to be judged, or other handshake messages are to come.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Where ciphertext from the socket is to be appended; call [`process`](Self::process) afterwards. There are at
    /// least 32 KiB of room, so a whole record always fits.
    pub fn incoming(&mut self, pool: &BufferPool) -> &mut BytesMut {
        if self.incoming.capacity() - self.incoming.len() < LEAST_ROOM {
            let mut fresh = pool.take();
            fresh.extend_from_slice(&self.incoming);
            let old = std::mem::replace(&mut self.incoming, fresh);
            if old.capacity() > 0 {
                pool.give_back(old);
            }
        }
        &mut self.incoming
    }

    /// Gives the buffer of [`incoming`](Self::incoming) back to the pool if nothing is in it.
    pub fn release(&mut self, pool: &BufferPool) {
        if self.incoming.is_empty() && self.incoming.capacity() > 0 {
            pool.give_back(std::mem::take(&mut self.incoming));
        }
    }

    /// Queues plaintext to be sent; what it becomes shows in [`outgoing`](Self::outgoing).
    ///
    /// # Errors
    ///
    /// The session has failed.
    pub fn write_plaintext(&mut self, data: Bytes, pool: &BufferPool) -> Result<(), TlsError> {
        self.waiting.push_back(data);
        self.process(pool)
    }

    /// Says that nothing more will be sent (`close_notify`).
    pub fn close(&mut self, pool: &BufferPool) {
        if self.closing == Closing::No {
            self.closing = Closing::Wanted;
            // Whatever fails now, the session ends.
            let _ended = self.process(pool);
        }
    }

    /// Ciphertext for the socket, to be taken from the front.
    pub fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Whether all plaintext that was queued has become ciphertext.
    pub fn is_all_encrypted(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Plaintext that arrived, at most `max` bytes of it.
    pub fn read_plaintext(&mut self, max: usize) -> Option<BytesMut> {
        let front = self.ready.front_mut()?;
        if front.len() > max {
            return Some(front.split_to(max)).filter(|data| !data.is_empty());
        }
        self.ready.pop_front()
    }

    /// Whether there is plaintext to read.
    pub fn has_plaintext(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether the peer has said in an orderly way that nothing more comes (`close_notify`).
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// What the end of the socket's stream means: an orderly end only after `close_notify`.
    pub fn on_eof(&self) -> LinkError {
        if self.peer_closed { LinkError::Eof } else { LinkError::Truncated }
    }

    /// Processes what was appended to [`incoming`](Self::incoming).
    ///
    /// # Errors
    ///
    /// The certificate's verdict, or that the peer broke the protocol. An alert for it is in
    /// [`outgoing`](Self::outgoing).
    pub fn process(&mut self, pool: &BufferPool) -> Result<(), TlsError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut plaintext = Plaintext { pool, current: None, ready: &mut self.ready };
        let result = loop {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut self.incoming);
            let step = match state {
                Err(error) => Err(error),
                Ok(ConnectionState::ReadTraffic(traffic)) => plaintext.take(traffic).map(|()| Step::Again),
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(&mut self.outgoing, 0, |into| message.encode(into)).map(|()| Step::Again)
                }
                // What was encoded stands in `outgoing`, from where it is sent before anything later.
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    Ok(Step::Again)
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    encrypt(traffic, &mut self.waiting, &mut self.closing, &mut self.outgoing)
                        .map(|()| Step::Stop)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    Ok(Step::Again)
                }
                Ok(_) => Ok(Step::Stop),
            };
            self.incoming.advance(discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Stop) => break Ok(()),
                Err(error) => break Err(tls_error(&error)),
            }
        };
        plaintext.flush();
        if let Err(error) = result {
            self.encode_alert();
            self.incoming.clear();
            self.failed = Some(error);
        }
        result
    }

    /// After a failure: what rustls wants to tell the peer about it. It is asked only while it has something to say;
    /// asked for more, it would go on with the input that failed.
    fn encode_alert(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
            let Ok(ConnectionState::EncodeTlsData(mut message)) = state else { return };
            if append(&mut self.outgoing, 0, |into| message.encode(into)).is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}

enum Step {
    Again,
    Stop,
}

/// Collects records into pooled buffers.
struct Plaintext<'a> {
    pool: &'a BufferPool,
    current: Option<BytesMut>,
    ready: &'a mut VecDeque<BytesMut>,
}

impl Plaintext<'_> {
    fn take(&mut self, mut traffic: ReadTraffic<'_, '_, ClientConnectionData>) -> Result<(), Error> {
        while let Some(record) = traffic.next_record() {
            self.push(record?.payload);
        }
        Ok(())
    }

    fn push(&mut self, mut payload: &[u8]) {
        while !payload.is_empty() {
            let current = self.current.get_or_insert_with(|| self.pool.take());
            let room = current.capacity() - current.len();
            let (now, later) = payload.split_at(room.min(payload.len()));
            current.extend_from_slice(now);
            payload = later;
            if !payload.is_empty() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Some(mut current) = self.current.take() {
            let data = current.split();
            if !data.is_empty() {
                self.ready.push_back(data);
            }
            self.pool.give_back(current);
        }
    }
}

/// Turns what is to be sent into records.
fn encrypt(
    mut traffic: WriteTraffic<'_, ClientConnectionData>,
    waiting: &mut VecDeque<Bytes>,
    closing: &mut Closing,
    outgoing: &mut BytesMut,
) -> Result<(), Error> {
    while let Some(data) = waiting.pop_front() {
        append(outgoing, data.len(), |into| traffic.encrypt(&data, into))?;
    }
    if *closing == Closing::Wanted {
        *closing = Closing::Said;
        append(outgoing, 0, |into| traffic.queue_close_notify(into))?;
    }
    Ok(())
}

/// Why something did not fit or could not be made.
trait Unfit {
    /// The room that it needs, or the failure.
    fn required(self) -> Result<usize, Error>;
}

impl Unfit for EncodeError {
    fn required(self) -> Result<usize, Error> {
        match self {
            Self::InsufficientSize(size) => Ok(size.required_size),
            Self::AlreadyEncoded => Err(Error::General("a handshake message was encoded twice".to_owned())),
        }
    }
}

impl Unfit for EncryptError {
    fn required(self) -> Result<usize, Error> {
        match self {
            Self::InsufficientSize(size) => Ok(size.required_size),
            Self::EncryptExhausted => Err(Error::EncryptError),
        }
    }
}

/// Appends what `write` makes, growing the room until it fits.
fn append<E: Unfit>(
    outgoing: &mut BytesMut,
    len: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = outgoing.len();
    let mut room = len + RECORD_OVERHEAD;
    loop {
        outgoing.resize(start + room, 0);
        match write(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(error) => {
                outgoing.truncate(start);
                // It said what it needs; more than that on every further try, so that this ends.
                room = error.required()?.max(room + 1);
            }
        }
    }
}

/// More than the header, tag and type of a record; also enough for most handshake messages.
const RECORD_OVERHEAD: usize = 512;
/// A record is at most 16 KiB + 256 + 5 bytes (RFC 8446 section 5.2), so one that has begun always fits.
const LEAST_ROOM: usize = 32 << 10;
