//! Policy: what the engine owes the hosts it asks, seen from the engine's side of each link: when it has read that a host
//! wants to be let alone, it lets it alone; and what was refused is not asked for again at once.

use crate::invariants::{Checked, broken};
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput, WallClock};
use gosh_dl_core::engine::LinkKey;
use gosh_dl_core::wire::http::{ResponseHead, RetryAfter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What was asked and refused in one life of the engine.
#[derive(Debug, Default)]
pub struct Manners {
    talks: BTreeMap<LinkKey, Talk>,
    /// Until when a host may not be asked, by its own word.
    paced: BTreeMap<Place, Instant>,
    /// When the engine read a refusal of a target, since it was last granted.
    refused: BTreeMap<(Place, String), VecDeque<Instant>>,
    /// How many downloads may ask for a target: those that name it, or all where it is behind a redirect.
    askers: BTreeMap<(String, String), usize>,
    downloads: usize,
    /// Who may see what.
    secrets: BTreeMap<String, BTreeSet<Place>>,
    /// The most connections that a download may have.
    connections: usize,
    /// As the engine was told.
    wall: Option<WallClock>,
}

/// A name, or an address where there is no name, and a port: what `Retry-After` is about.
type Place = (String, u16);

/// The answer that the engine is reading on a link.
#[derive(Debug)]
struct Talk {
    place: Place,
    /// What was asked for last, until the head of the answer is read.
    target: Option<String>,
    head: Vec<u8>,
}

impl Manners {
    /// Nothing was asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A download of this target of this host was added.
    pub fn expect(&mut self, host: &str, target: &str) {
        *self.askers.entry((host.to_owned(), target.to_owned())).or_default() += 1;
        self.downloads += 1;
    }

    /// This may be said to that port of that host.
    pub fn entrust(&mut self, secret: &str, host: &str, port: u16) {
        self.secrets.entry(secret.to_owned()).or_default().insert((host.to_owned(), port));
    }

    /// A download may have this many connections.
    pub fn allow(&mut self, connections: usize) {
        self.connections = self.connections.max(connections);
    }

    /// A new engine knows nothing of what an earlier one was told.
    pub fn restart(&mut self, wall: WallClock) {
        self.talks.clear();
        self.paced.clear();
        self.refused.clear();
        self.wall = Some(wall);
    }

    /// The engine was told what time it is.
    pub fn set_wall(&mut self, wall: WallClock) {
        self.wall = Some(wall);
    }

    /// A download starts anew: the user did not want to wait.
    pub fn start_over(&mut self) {
        self.refused.clear();
    }

    /// The engine connects to a host.
    pub fn on_connect(&mut self, link: LinkKey, host: &str, port: u16) {
        let talk = Talk { place: (host.to_owned(), port), target: None, head: Vec::new() };
        self.talks.insert(link, talk);
    }

    /// The engine says something on a link.
    ///
    /// # Errors
    ///
    /// Where it asks a host that wants to be let alone, or tells a secret.
    pub fn on_output(&mut self, now: Instant, link: LinkKey, output: &LinkOutput) -> Checked {
        let LinkOutput::Send(bytes) = output else {
            if matches!(output, LinkOutput::Close) {
                self.talks.remove(&link);
            }
            return Ok(());
        };
        let Some(talk) = self.talks.get_mut(&link) else { return Ok(()) };
        let said = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        let told = self.secrets.iter().find(|(secret, places)| !places.contains(&talk.place) && said(secret));
        if let Some((secret, _)) = told {
            return Err(broken("secrets stay with their origin", &format!("{secret:?} to {:?}", talk.place)));
        }
        let Some(target) = target_of(bytes) else { return Ok(()) };
        talk.target = Some(target);
        talk.head.clear();
        match self.paced.get(&talk.place) {
            Some(until) if *until > now => {
                let early = *until - now;
                Err(broken("Retry-After is honoured", &format!("{:?} asked {early:?} early", talk.place)))
            }
            _ => Ok(()),
        }
    }

    /// The engine hears something on a link.
    ///
    /// # Errors
    ///
    /// Where it went on asking for what was refused, without a pause; `first_pause` is the least one, before jitter.
    pub fn on_input(
        &mut self,
        now: Instant,
        link: LinkKey,
        input: &LinkInput,
        first_pause: Duration,
    ) -> Checked {
        let LinkInput::Data(bytes) = input else {
            if matches!(input, LinkInput::Closed(_)) {
                self.talks.remove(&link);
            }
            return Ok(());
        };
        let Some(talk) = self.talks.get_mut(&link).filter(|talk| talk.target.is_some()) else {
            return Ok(());
        };
        talk.head.extend_from_slice(bytes);
        if talk.head.len() > LONGEST_HEAD {
            talk.target = None;
        }
        let Some(head) = take_head(&mut talk.head) else { return Ok(()) };
        let Some(target) = talk.target.take() else { return Ok(()) };
        let place = talk.place.clone();
        if !is_refusal(head.status) {
            self.refused.remove(&(place, target));
            return Ok(());
        }
        if let Some(until) = head.retry_after().and_then(|after| until(now, self.wall.as_ref(), after)) {
            let paced = self.paced.entry(place.clone()).or_insert(until);
            *paced = until.max(*paced);
        }
        self.count(now, place, target, first_pause)
    }

    /// A refusal is followed by a rest; only what was under way by then may be refused in it, connection by connection,
    /// and what is refused to one connection while others deliver costs that one only.
    fn count(&mut self, now: Instant, place: Place, target: String, first_pause: Duration) -> Checked {
        let named = self.askers.get(&(place.0.clone(), target.clone())).copied();
        let askers = named.unwrap_or(self.downloads).max(1);
        let most = askers * (2 * self.connections + 1);
        let detail = format!("{target} of {place:?}");
        let times = self.refused.entry((place, target)).or_default();
        times.push_back(now);
        if times.len() <= most {
            return Ok(());
        }
        let since = now - times.pop_front().unwrap_or(now);
        let least = first_pause.mul_f64(LEAST_JITTER);
        if since >= least {
            return Ok(());
        }
        Err(broken("retries wait", &format!("{detail} was refused {} times in {since:?}", most + 1)))
    }
}

/// What a request asks for.
fn target_of(bytes: &[u8]) -> Option<String> {
    let text = bytes.strip_prefix(b"GET ").or_else(|| bytes.strip_prefix(b"HEAD "))?;
    let end = text.iter().position(|byte| *byte == b' ')?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// The head of the answer, once it is whole; interim ones are passed over. One that cannot be read is none.
fn take_head(buffer: &mut Vec<u8>) -> Option<ResponseHead> {
    loop {
        let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = ResponseHead::decode(&buffer[..end]);
        buffer.drain(..end);
        match head {
            Ok(head) if head.is_informational() => {}
            other => return other.ok(),
        }
    }
}

/// Statuses that mean "not now".
fn is_refusal(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Until when the host wants to be let alone; `None` where it is given up instead, or the time has passed.
fn until(now: Instant, wall: Option<&WallClock>, after: RetryAfter) -> Option<Instant> {
    let seconds = match after {
        RetryAfter::Seconds(seconds) => seconds,
        // Wall clocks are compared in whole seconds.
        RetryAfter::At(unix) => unix.saturating_sub(wall?.unix_seconds(now) + 1),
    };
    (1..=LONGEST).contains(&seconds).then(|| now + Duration::from_secs(seconds))
}

/// Who wants to be let alone for longer is given up.
const LONGEST: u64 = 3600;

/// Whoever sends more before the end of a head is not listened to.
const LONGEST_HEAD: usize = 1 << 20;

/// A pause varies by a quarter; a little less for the rounding of clocks.
const LEAST_JITTER: f64 = 0.74;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use gosh_dl_core::base::Key;

    const PAUSE: Duration = Duration::from_secs(1);

    fn link() -> LinkKey {
        Key::from_u64(1)
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn manners() -> Manners {
        let mut manners = Manners::new();
        manners.expect("h", "/f");
        manners.allow(1);
        manners.on_connect(link(), "h", 80);
        manners
    }

    fn ask(manners: &mut Manners, now: Instant) -> Checked {
        let request = Bytes::from_static(b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
        manners.on_output(now, link(), &LinkOutput::Send(request))
    }

    fn answer(manners: &mut Manners, now: Instant, text: &str) -> Checked {
        text.as_bytes().chunks(3).try_for_each(|piece| {
            manners.on_input(now, link(), &LinkInput::Data(BytesMut::from(piece)), PAUSE)
        })
    }

    #[test]
    fn host_that_wants_to_be_let_alone_is_not_asked_before() {
        let mut manners = manners();
        assert_eq!(ask(&mut manners, at(0)), Ok(()));
        let busy = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 5\r\n\r\nsorry";
        assert_eq!(answer(&mut manners, at(10), busy), Ok(()));
        assert!(ask(&mut manners, at(5009)).is_err());
        assert_eq!(ask(&mut manners, at(5010)), Ok(()));
    }

    #[test]
    fn secret_of_another_port_is_found_out() {
        let mut manners = manners();
        let mut say = || {
            let request = Bytes::from_static(b"GET /f HTTP/1.1\r\nHost: h\r\nCookie: s=canary\r\n\r\n");
            manners.entrust("canary", "h", 443);
            let told = manners.on_output(at(0), link(), &LinkOutput::Send(request.clone()));
            manners.entrust("canary", "h", 80);
            (told.is_err(), manners.on_output(at(0), link(), &LinkOutput::Send(request)).is_ok())
        };
        assert_eq!(say(), (true, true));
    }

    #[test]
    fn refusals_in_a_row_without_a_pause_are_found_out() {
        let asked = |step: u64| {
            let mut manners = manners();
            (0..10).find(|round| {
                let now = at(round * step);
                ask(&mut manners, now).is_err()
                    || answer(&mut manners, now, "HTTP/1.1 500 No\r\n\r\n").is_err()
            })
        };
        assert_eq!(asked(50), Some(3));
        assert_eq!(asked(750), None);
    }

    #[test]
    fn success_between_them_excuses_refusals() {
        let mut manners = manners();
        for round in 0..10 {
            let status = if round % 2 == 0 { "HTTP/1.1 500 No" } else { "HTTP/1.1 206 Part" };
            assert_eq!(ask(&mut manners, at(round)), Ok(()));
            assert_eq!(answer(&mut manners, at(round), &format!("{status}\r\n\r\n")), Ok(()));
        }
    }
}
