//! Certificates for the servers: a good one under an authority of our own, and three bad ones.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::fs;
use std::path::{Path, PathBuf};

/// An authority that only these tests know.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate with its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, PEM.
    pub chain: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one and writes it to `ca.pem` in `dir`.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to be wrong");
        params.distinguished_name.push(DnType::CommonName, "authority of the gosh-dl tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        fs::write(dir.join("ca.pem"), root.pem()).expect("room for it");
        Self { issuer: Issuer::new(params, key), dir: dir.to_path_buf() }
    }

    /// The authority's own certificate, PEM.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate as it should be.
    pub fn good(&self) -> Certificate {
        self.signed("good", &["localhost", "127.0.0.1", "::1"], 2100)
    }

    /// One that has run out.
    pub fn expired(&self) -> Certificate {
        self.signed("expired", &["localhost", "127.0.0.1"], 2021)
    }

    /// One for somebody else.
    pub fn wrong_host(&self) -> Certificate {
        self.signed("wrong-host", &["elsewhere.example"], 2100)
    }

    /// One that nobody vouches for.
    pub fn self_signed(&self) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let pem = params(&["localhost", "127.0.0.1"], 2100).self_signed(&key).expect("a certificate").pem();
        self.write("self-signed", &pem, &key)
    }

    fn signed(&self, name: &str, hosts: &[&str], until: i32) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let pem = params(hosts, until).signed_by(&key, &self.issuer).expect("a certificate").pem();
        self.write(name, &pem, &key)
    }

    fn write(&self, name: &str, pem: &str, key: &KeyPair) -> Certificate {
        let chain = self.dir.join(format!("{name}.pem"));
        let key_file = self.dir.join(format!("{name}.key"));
        fs::write(&chain, pem).expect("room for it");
        fs::write(&key_file, key.serialize_pem()).expect("room for it");
        Certificate { chain, key: key_file }
    }
}

fn params(hosts: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.distinguished_name.push(DnType::CommonName, hosts[0]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}
