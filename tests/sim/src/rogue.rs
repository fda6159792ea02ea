//! Machine: a peer that greets and then does whatever a test says, turn by turn.

use crate::actor::Actor;
use bytes::{Bytes, BytesMut};
use core::fmt;
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput, PeerId};
use gosh_dl_core::engine::{Input, LinkKey, ListenerKey, Output};
use gosh_dl_core::wire::peer::{Extension, ExtensionHandshake, Features, Handshake, Message, MessageDecoder};
use gosh_dl_core::wire::torrent::Metainfo;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// What happens in a conversation; a script answers each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Both have greeted.
    Greeted,
    /// The other side said this.
    Heard(Message),
    /// Time has passed: [`Rogue::every`].
    Tick,
}

/// What a script says in one turn.
#[derive(Debug, Default)]
pub struct Mouth {
    out: BytesMut,
    hangs_up: bool,
}

type Script = Box<dyn FnMut(&mut Mouth, Turn)>;

/// A peer that follows a script. It listens, dials, or both, and can do everything that a handshake may offer.
///
/// ```
/// use gosh_dl_core::wire::peer::Message;
/// use gosh_dl_sim::one_file::{OneFile, place};
/// use gosh_dl_sim::{Content, Rogue, Turn};
///
/// let file = OneFile::new(Content::generated(1, 1_000_000), 64 << 10);
/// // It says that it has everything, and rejects whatever it is asked for.
/// let liar = Rogue::new(place(1), &file.metainfo, |mouth, turn| match turn {
///     Turn::Greeted => mouth.say(&[Message::HaveAll, Message::Unchoke]),
///     Turn::Heard(Message::Request(span)) => mouth.say(&[Message::Reject(span)]),
///     _ => {}
/// });
/// assert_eq!(liar.heard, 0);
/// ```
pub struct Rogue {
    handshake: Handshake,
    listen: SocketAddr,
    dials: Option<(SocketAddr, u64)>,
    returns: bool,
    /// How much of its handshake it sends, and the rest never.
    greeting: usize,
    every: Option<Duration>,
    next_tick: Option<Instant>,
    script: Script,
    talks: BTreeMap<LinkKey, Talk>,
    outputs: VecDeque<Output>,
    dialled: u64,
    /// How many connections came.
    pub connections: u32,
    /// How many connections it has now, in which the other side has greeted.
    pub met: usize,
    /// How many connections ended from the other side, or were never made.
    pub closed: u64,
    /// How many messages it heard.
    pub heard: u64,
    /// How many requests for blocks it heard.
    pub requests: u64,
}

#[derive(Debug, Default)]
struct Talk {
    beginning: BytesMut,
    greeted: bool,
    dialled: bool,
    decoder: MessageDecoder,
}

impl Mouth {
    /// Says these messages.
    pub fn say(&mut self, messages: &[Message]) {
        messages.iter().for_each(|message| message.encode(&mut self.out));
    }

    /// Says these bytes, whatever they mean.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Says what it can do (BEP 10).
    pub fn introduce(&mut self, said: &ExtensionHandshake) {
        self.extended(0, said.encode());
    }

    /// Says something of an extension, by the number that engines know it by.
    pub fn extension(&mut self, extension: Extension, payload: Vec<u8>) {
        self.extended(extension.local_id(), payload);
    }

    /// Hangs up, when all has been said.
    pub fn hang_up(&mut self) {
        self.hangs_up = true;
    }

    fn extended(&mut self, id: u8, payload: Vec<u8>) {
        self.say(&[Message::Extended { id, payload: payload.into() }]);
    }
}

impl Rogue {
    /// A peer at `listen` for a torrent.
    pub fn new(
        listen: SocketAddr,
        torrent: &Metainfo,
        script: impl FnMut(&mut Mouth, Turn) + 'static,
    ) -> Self {
        let mut peer_id = PeerId(*b"-RG0001-000000000000");
        peer_id.0[8..]
            .copy_from_slice(format!("{:0>12}", listen.ip().to_string().replace('.', "")).as_bytes());
        let features = Features { extended: true, fast: true, dht: false };
        Self {
            handshake: Handshake { features, info_hash: torrent.info_hash(), peer_id },
            listen,
            dials: None,
            returns: false,
            greeting: Handshake::LEN,
            every: None,
            next_tick: None,
            script: Box::new(script),
            talks: BTreeMap::new(),
            outputs: VecDeque::new(),
            dialled: 0,
            connections: 0,
            met: 0,
            closed: 0,
            heard: 0,
            requests: 0,
        }
    }

    /// It offers no more than this.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.handshake.features = features;
        self
    }

    /// It makes so many connections to somebody.
    #[must_use]
    pub fn dials(mut self, to: SocketAddr, connections: u64) -> Self {
        self.dials = Some((to, connections));
        self
    }

    /// It makes each connection anew as soon as it ends.
    #[must_use]
    pub fn returns(mut self) -> Self {
        self.returns = true;
        self
    }

    /// It sends so many bytes of its handshake at once, then one each [`tick`](Self::every) and never the last.
    #[must_use]
    pub fn greets_slowly(mut self, bytes: usize) -> Self {
        self.greeting = bytes;
        self
    }

    /// Its script has a turn so often in each conversation.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = Some(every);
        self
    }

    fn open(&mut self, link: LinkKey, dialled: bool) {
        self.talks.insert(link, Talk { dialled, ..Talk::default() });
        self.outputs.push_back(Output::Link { link, output: LinkOutput::Credit(CREDIT) });
        // Who has many connections is as many peers.
        let mut handshake = self.handshake;
        handshake.peer_id.0[2..6].copy_from_slice(format!("{:04}", link.as_u64() % 10_000).as_bytes());
        let greeting = Bytes::copy_from_slice(&handshake.encode()[..self.greeting]);
        if !greeting.is_empty() {
            self.outputs.push_back(Output::Link { link, output: LinkOutput::Send(greeting) });
        }
    }

    /// Makes as many connections as it wants to have.
    fn dial(&mut self) {
        let Some((to, wanted)) = self.dials else { return };
        let have = self.talks.values().filter(|talk| talk.dialled).count() as u64;
        for _ in have..wanted {
            let link = LinkKey::from_u64(DIALLED + self.dialled);
            self.dialled += 1;
            self.talks.insert(link, Talk { dialled: true, ..Talk::default() });
            self.outputs.push_back(Output::Connect { link, to, from: None, tls: None });
        }
    }

    fn take(&mut self, link: LinkKey, mut bytes: Bytes) {
        let Some(talk) = self.talks.get_mut(&link) else { return };
        let mut turns = Vec::new();
        if !talk.greeted {
            let missing = bytes.len().min(Handshake::LEN - talk.beginning.len());
            talk.beginning.extend_from_slice(&bytes.split_to(missing));
            talk.greeted = talk.beginning.len() == Handshake::LEN;
            turns.extend(talk.greeted.then_some(Turn::Greeted));
        }
        while let Some(message) =
            talk.greeted.then(|| talk.decoder.decode(&mut bytes).ok().flatten()).flatten()
        {
            turns.push(Turn::Heard(message));
        }
        turns.into_iter().for_each(|turn| self.turn(link, turn));
    }

    fn turn(&mut self, link: LinkKey, turn: Turn) {
        match &turn {
            Turn::Greeted => self.met += 1,
            Turn::Heard(message) => {
                self.heard += 1;
                self.requests += u64::from(matches!(message, Message::Request(_)));
            }
            Turn::Tick => {}
        }
        let mut mouth = Mouth::default();
        (self.script)(&mut mouth, turn);
        if !mouth.out.is_empty() {
            let output = LinkOutput::Send(mouth.out.freeze());
            self.outputs.push_back(Output::Link { link, output });
        }
        if mouth.hangs_up {
            self.outputs.push_back(Output::Link { link, output: LinkOutput::Close });
            self.end(link);
        }
    }

    fn end(&mut self, link: LinkKey) {
        let gone = self.talks.remove(&link);
        self.met -= usize::from(gone.is_some_and(|talk| talk.greeted));
        if self.returns {
            self.dial();
        }
    }

    fn tick(&mut self) {
        let greeted = self.talks.iter().map(|(link, talk)| (*link, talk.greeted));
        for (link, greeted) in greeted.collect::<Vec<_>>() {
            if greeted {
                self.turn(link, Turn::Tick);
            }
        }
        let greeting = self.handshake.encode();
        if let Some(next) = greeting[..Handshake::LEN - 1].get(self.greeting) {
            self.greeting += 1;
            for link in self.talks.keys() {
                let output = LinkOutput::Send(Bytes::copy_from_slice(&[*next]));
                self.outputs.push_back(Output::Link { link: *link, output });
            }
        }
    }
}

impl Actor for Rogue {
    fn handle_input(&mut self, _: Instant, input: Input) {
        match input {
            Input::Accepted { arrival, .. } => {
                let link = LinkKey::from_u64(arrival.0);
                self.connections += 1;
                self.outputs.push_back(Output::Adopt { arrival, link });
                self.open(link, false);
            }
            Input::Link { link, input: LinkInput::Opened } => self.open(link, true),
            Input::Link { link, input: LinkInput::Data(bytes) } => {
                let came = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.take(link, bytes.freeze());
                self.outputs.push_back(Output::Link { link, output: LinkOutput::Credit(came) });
            }
            Input::Link { link, input: LinkInput::Closed(_) } => {
                self.closed += 1;
                self.end(link);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.next_tick {
            None => {
                self.outputs.push_back(Output::Listen { listener: ListenerKey(1), on: self.listen });
                self.dial();
            }
            Some(_) => self.tick(),
        }
        self.next_tick = Some(now + self.every.unwrap_or(NEVER));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }
}

impl fmt::Debug for Rogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, connections, met, closed, heard, .. } = self;
        write!(f, "Rogue at {listen}: {connections} came, {met} met, {closed} closed, {heard} messages")
    }
}

/// How many bytes the other side may send ahead.
const CREDIT: u32 = 1 << 20;
/// Links that it dialled have numbers from here on.
const DIALLED: u64 = 1 << 40;
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(1_000_000_000);
