//! Name look-up by the platform's resolver, on threads of its own.

use gosh_dl_core::engine::{QueryKey, ResolveError};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The answer to a look-up: never empty when `Ok`.
pub type Resolved = Result<Vec<IpAddr>, ResolveError>;

/// What is called with every answer, on a resolver thread.
pub type ResolveDone = Arc<dyn Fn(QueryKey, Resolved) + Send + Sync>;

/// Looks names up with `getaddrinfo`, which knows the hosts file and whatever else the machine is set up with.
///
/// A look-up blocks and cannot be cancelled, so a few threads do it; they end when there is nothing to look up.
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    done: ResolveDone,
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<str>>,
    /// Who waits for each name that is queued or being looked up: a download that dials sixteen times asks once.
    asked: HashMap<Arc<str>, Vec<QueryKey>>,
    threads: usize,
    stopped: bool,
}

impl Resolver {
    /// A resolver that reports to `done`.
    pub fn new(done: ResolveDone) -> Self {
        Self::with_look_up(done, system_look_up)
    }

    fn with_look_up(done: ResolveDone, look_up: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self { shared: Arc::new(Shared { done, look_up, state: Mutex::default() }) }
    }

    /// Queues a look-up.
    pub fn resolve(&self, query: QueryKey, host: Arc<str>) {
        let mut state = self.shared.state();
        if state.stopped {
            return;
        }
        let waiting = state.asked.entry(Arc::clone(&host)).or_default();
        waiting.push(query);
        if waiting.len() > 1 {
            return;
        }
        state.queue.push_back(host);
        if state.threads >= MAX_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("gosh-names".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || shared.run()) {
            tracing::warn!(%error, "cannot start a resolver thread");
            let mut state = self.shared.state();
            state.threads -= 1;
            let orphans = if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
            drop(state);
            orphans.iter().for_each(|host| self.shared.tell(host, &Err(ResolveError::Failed)));
        }
    }

    /// Gives up what is queued; nothing is reported any more. A look-up that is under way ends by itself.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.stopped = true;
        state.queue.clear();
        state.asked.clear();
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(host) = self.next() {
            self.tell(&host, &answer((self.look_up)(&host)));
        }
    }

    /// Whoever asks from now on gets a look-up of their own.
    fn tell(&self, host: &str, result: &Resolved) {
        let asked = self.state().asked.remove(host);
        asked.into_iter().flatten().for_each(|query| (self.done)(query, result.clone()));
    }

    fn next(&self) -> Option<Arc<str>> {
        let mut state = self.state();
        let next = state.queue.pop_front();
        if next.is_none() {
            state.threads -= 1;
        }
        next
    }
}

fn system_look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// Keeps the resolver's order (RFC 6724) and says each address once.
fn answer(result: io::Result<Vec<IpAddr>>) -> Resolved {
    let found = result.map_err(|error| resolve_error(&error))?;
    let mut addresses: Vec<IpAddr> = Vec::with_capacity(found.len().min(MAX_ADDRESSES));
    for address in found {
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
}

/// std hides the resolver's number behind its message, which is not translated in a program that sets no locale.
/// What is not recognised counts as a failure that another try may mend.
fn resolve_error(error: &io::Error) -> ResolveError {
    let message = error.to_string();
    let unknown = NOT_FOUND.iter().any(|text| message.contains(text));
    match error.kind() {
        io::ErrorKind::TimedOut => ResolveError::TimedOut,
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => ResolveError::NotFound,
        _ if unknown => ResolveError::NotFound,
        _ => ResolveError::Failed,
    }
}

/// EAI_NONAME, EAI_NODATA and EAI_ADDRFAMILY as glibc, musl, the BSDs and Windows say them.
const NOT_FOUND: [&str; 7] = [
    "Name or service not known",
    "No address associated with",
    "Address family for hostname not supported",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided",
    "No such host is known",
];

/// Enough that one slow name server does not hold up the names of others.
const MAX_THREADS: usize = 4;
/// glibc's resolver keeps its packets on the stack.
const STACK: usize = 512 << 10;
/// More addresses than anybody tries one after the other.
const MAX_ADDRESSES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn resolver(
        look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
    ) -> (Resolver, mpsc::Receiver<(QueryKey, Resolved)>) {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let done = move |query, result| {
            let _ = sender.lock().unwrap().send((query, result));
        };
        (Resolver::with_look_up(Arc::new(done), look_up), receiver)
    }

    #[test]
    fn localhost_resolves_to_loopback() {
        let (resolver, answers) = resolver(system_look_up);
        resolver.resolve(QueryKey(7), "localhost".into());
        let (query, result) = answers.recv().unwrap();
        assert_eq!(query, QueryKey(7));
        assert!(result.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn errors_say_whether_another_try_may_help() {
        let error = |text: &str| resolve_error(&io::Error::other(text.to_owned()));
        assert_eq!(
            error("failed to lookup address information: Name or service not known"),
            ResolveError::NotFound
        );
        assert_eq!(
            error("failed to lookup address information: Temporary failure in name resolution"),
            ResolveError::Failed
        );
        assert_eq!(resolve_error(&io::ErrorKind::TimedOut.into()), ResolveError::TimedOut);
        assert_eq!(answer(Ok(Vec::new())), Err(ResolveError::NotFound));
    }

    #[test]
    fn an_address_is_said_once_and_order_is_kept() {
        let [a, b] = [IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 1])];
        assert_eq!(answer(Ok(vec![a, b, a, b])), Ok(vec![a, b]));
    }

    #[test]
    fn many_names_share_few_threads() {
        let (resolver, answers) = resolver(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])]));
        (0..100).for_each(|number| resolver.resolve(QueryKey(number), number.to_string().into()));
        assert!(resolver.shared.state().threads <= MAX_THREADS);
        let mut queries: Vec<u64> = (0..100).map(|_| answers.recv().unwrap().0.0).collect();
        queries.sort_unstable();
        assert_eq!(queries, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_that_is_being_looked_up_is_not_looked_up_again() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static GATE: Mutex<()> = Mutex::new(());
        let gate = GATE.lock().unwrap();
        let (resolver, answers) = resolver(|host| {
            let _open = GATE.lock().unwrap();
            CALLS.fetch_add(1, Ordering::SeqCst);
            if host == "bad" { Err(io::Error::other("down")) } else { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }
        });
        let host = |number: u64| if number.is_multiple_of(2) { "good" } else { "bad" };
        (0..20).for_each(|number| resolver.resolve(QueryKey(number), host(number).into()));
        drop(gate);
        for _ in 0..20 {
            let (QueryKey(number), result) = answers.recv().unwrap();
            assert_eq!(result.is_ok(), host(number) == "good", "{number}");
        }
        assert_eq!(CALLS.load(Ordering::SeqCst), 2);
        resolver.resolve(QueryKey(20), "good".into());
        assert_eq!(answers.recv().unwrap().0, QueryKey(20));
        assert_eq!(CALLS.load(Ordering::SeqCst), 3);
    }
}
