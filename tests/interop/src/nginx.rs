//! nginx on free ports of the loopback, with a configuration of its own.

use crate::certificates::Certificate;
use crate::log::{self, Request};
use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A web site to be: what it serves and how.
#[derive(Debug)]
pub struct Site {
    dir: PathBuf,
    host: &'static str,
    tls: Option<Certificate>,
    rules: String,
}

/// A running nginx; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    dir: PathBuf,
    origin: String,
    host: &'static str,
    port: u16,
}

/// Where nginx is, if it is.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places.map(|place| place.join("nginx")).find(|candidate| candidate.is_file())
}

impl Site {
    /// A site over `dir/www` on 127.0.0.1.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), host: "127.0.0.1", tls: None, rules: String::new() }
    }

    /// Listens on ::1.
    #[must_use]
    pub fn on_ipv6(mut self) -> Self {
        self.host = "[::1]";
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, certificate: &Certificate) -> Self {
        self.tls = Some(certificate.clone());
        self
    }

    /// Adds rules to the whole site, in nginx's words.
    #[must_use]
    pub fn rule(mut self, rule: &str) -> Self {
        let _ = writeln!(self.rules, "{rule}");
        self
    }

    /// Serves the same files under `prefix` once more, with rules of its own.
    #[must_use]
    pub fn under(self, prefix: &str, rules: &str) -> Self {
        let www = self.dir.join("www");
        let location = format!("location {prefix} {{ alias {}/; {rules} }}", www.display());
        self.rule(&location)
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Server {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let dir = self.dir.join(format!("nginx-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&dir).expect("a directory");
        let (host, scheme) = (self.host, if self.tls.is_some() { "https" } else { "http" });
        for _ in 0..5 {
            let port = free_port(host);
            fs::write(dir.join("nginx.conf"), self.configuration(&dir, port)).expect("room for it");
            let origin = format!("{scheme}://{host}:{port}");
            let mut server = Server { child: None, dir: dir.clone(), origin, host, port };
            if server.run() {
                return server;
            }
        }
        panic!("nginx does not start: {}", fs::read_to_string(dir.join("error.log")).unwrap_or_default());
    }

    fn configuration(&self, dir: &Path, port: u16) -> String {
        let (dir, www, rules) = (dir.display(), self.dir.join("www"), &self.rules);
        let (listen, tls) = match &self.tls {
            None => (format!("{}:{port} sndbuf=128k", self.host), String::new()),
            Some(Certificate { chain, key }) => (
                format!("{}:{port} ssl sndbuf=128k", self.host),
                format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;",
                    chain.display(),
                    key.display()
                ),
            ),
        };
        format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format seen '{format}';
  access_log {dir}/access.log seen;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  sendfile on; default_type application/octet-stream; server_tokens off;
  server {{ listen {listen}; {tls} root {www}; {rules} }}
}}
",
            format = log::FORMAT,
            www = www.display(),
        )
    }
}

impl Server {
    /// The address of a path of this site.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The same by the name `localhost`.
    pub fn url_by_name(&self, path: &str) -> String {
        self.url(path).replace(self.host, "localhost")
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The requests that it has answered, to their end or their abort.
    pub fn requests(&self) -> Vec<Request> {
        log::read(&self.dir.join("access.log"))
    }

    /// The requests once all of them are in the log: it stops the server.
    pub fn into_requests(mut self) -> Vec<Request> {
        // Connections that their client dropped are noticed with the next event.
        sleep(Duration::from_millis(300));
        self.stop();
        self.requests()
    }

    /// Kills it, with everything under way.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it is ours");
        }
    }

    /// Starts it again on the same port; tells whether it answers.
    pub fn run(&mut self) -> bool {
        let program = program().expect("looked for before");
        let mut command = Command::new(program);
        command
            .arg("-p")
            .arg(&self.dir)
            .arg("-c")
            .arg(self.dir.join("nginx.conf"))
            .arg("-e")
            .arg(self.dir.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("nginx runs");
        for _ in 0..200 {
            if child.try_wait().expect("it is ours").is_some() {
                return false;
            }
            if TcpStream::connect(self.authority()).is_ok() {
                self.child = Some(child);
                return true;
            }
            sleep(Duration::from_millis(25));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port(host: &str) -> u16 {
    let listener = TcpListener::bind(format!("{host}:0")).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
