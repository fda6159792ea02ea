//! Codec: the extension handshake, in which a peer says what it can do and by which numbers (BEP 10, 9, 21).

use crate::wire::bencode::{self, DictEncoder, Document, Mode, Value};
use core::net::IpAddr;

/// What a peer says of itself. What it leaves out is `None`: as it was, if it said so before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// By which number it wants to be sent messages of an [`Extension`]; 0 is not at all.
    pub ids: [Option<u8>; Extension::ALL.len()],
    /// `p`: the port that it listens on.
    pub listen_port: Option<u16>,
    /// `v`: name and version of the client.
    pub client: Option<String>,
    /// `yourip`: the address that it sees the receiver at.
    pub your_ip: Option<IpAddr>,
    /// `reqq`: how many requests it keeps.
    pub request_queue: Option<u32>,
    /// `metadata_size`: the length of the metadata in bytes (BEP 9).
    pub metadata_size: Option<u32>,
    /// `upload_only`: whether it wants nothing (any more) (BEP 21).
    pub upload_only: Option<bool>,
}

/// The extensions that are spoken here. What each is as a number is by which number we want to be sent its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extension {
    /// `ut_metadata` (BEP 9).
    Metadata = 1,
    /// `ut_pex` (BEP 11).
    Pex = 2,
    /// `lt_donthave` (BEP 54).
    DontHave = 3,
    /// `upload_only`: one byte that says what the key of that name does (BEP 21), for when it changes.
    UploadOnly = 4,
}

impl Extension {
    /// Each of them, in the order of [`ExtensionHandshake::ids`].
    pub const ALL: [Self; 4] = [Self::Metadata, Self::Pex, Self::DontHave, Self::UploadOnly];

    /// Its name in the handshake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "ut_metadata",
            Self::Pex => "ut_pex",
            Self::DontHave => "lt_donthave",
            Self::UploadOnly => "upload_only",
        }
    }

    /// The number by which we want to be sent its messages.
    pub const fn local_id(self) -> u8 {
        self as u8
    }

    /// The extension of a message that was sent to us.
    pub fn of_local_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.local_id() == id)
    }

    /// Its place in [`ExtensionHandshake::ids`].
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

impl ExtensionHandshake {
    /// The longest metadata that is believed in, in bytes: 800,000 pieces, or 10 TB in pieces of 16 MiB. Somebody must
    /// set memory aside for it before any of it can be checked.
    pub const MAX_METADATA: u32 = 16 << 20;

    /// Reads the payload of extended message 0. What is out of range is left out; what follows the dictionary is not
    /// looked at.
    pub fn decode(payload: &[u8]) -> Result<Self, MalformedExtension> {
        let (document, _) = Document::decode_prefix(payload, Mode::Lax).map_err(|_| MalformedExtension)?;
        let root = document.root();
        if root.entries().is_none() {
            return Err(MalformedExtension);
        }
        let names = root.get(b"m");
        let id = |extension: Extension| {
            let number = names?.get(extension.name().as_bytes())?.as_uint()?;
            u8::try_from(number).ok()
        };
        let number = |key: &[u8]| root.get(key).and_then(Value::as_uint);
        let small = |key: &[u8]| number(key).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let port = number(b"p").and_then(|port| u16::try_from(port).ok());
        Ok(Self {
            ids: Extension::ALL.map(id),
            listen_port: port.filter(|port| *port > 0),
            client: root.get(b"v").and_then(Value::as_bytes).map(client_name),
            your_ip: root.get(b"yourip").and_then(Value::as_bytes).and_then(compact_ip),
            request_queue: small(b"reqq"),
            metadata_size: small(b"metadata_size").filter(|size| (1..=Self::MAX_METADATA).contains(size)),
            upload_only: number(b"upload_only").map(|number| number != 0),
        })
    }

    /// The payload of extended message 0.
    pub fn encode(&self) -> Vec<u8> {
        bencode::encode(|value| value.dict(|message| self.write(message)))
    }

    fn write(&self, message: &mut DictEncoder<'_>) {
        message.entry(b"m", |value| value.dict(|names| self.write_names(names)));
        let numbers: [(&[u8], Option<u32>); 4] = [
            (b"metadata_size", self.metadata_size),
            (b"p", self.listen_port.map(u32::from)),
            (b"reqq", self.request_queue),
            (b"upload_only", self.upload_only.map(u32::from)),
        ];
        for (key, number) in numbers.into_iter().filter_map(|(key, number)| Some((key, number?))) {
            message.entry(key, |value| value.int(number));
        }
        if let Some(client) = &self.client {
            message.entry(b"v", |value| value.str(client));
        }
        match self.your_ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => message.entry(b"yourip", |value| value.bytes(&ip.octets())),
            Some(IpAddr::V6(ip)) => message.entry(b"yourip", |value| value.bytes(&ip.octets())),
            None => {}
        }
    }

    fn write_names(&self, names: &mut DictEncoder<'_>) {
        let ids = Extension::ALL.into_iter().zip(self.ids);
        for (extension, id) in ids.filter_map(|(extension, id)| Some((extension, id?))) {
            names.entry(extension.name().as_bytes(), |value| value.int(id));
        }
    }
}

/// The extension handshake is not a dictionary (BEP 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed extension handshake")]
pub struct MalformedExtension;

fn client_name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(MAX_CLIENT_CHARS).collect()
}

fn compact_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// A name that is longer tells a person nothing, and is kept for each peer.
const MAX_CLIENT_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_a_real_client_sends() {
        let payload = b"d12:complete_agoi1e1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e12:ut_holepunchi4e11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei31235e4:reqqi2000e11:upload_onlyi1e1:v17:libtorrent 2.0.116:yourip4:\x01\x02\x03\x04e";
        let expected = ExtensionHandshake {
            ids: [Some(2), Some(1), Some(7), Some(3)],
            listen_port: None,
            client: Some("libtorrent 2.0.11".to_owned()),
            your_ip: Some([1, 2, 3, 4].into()),
            request_queue: Some(2000),
            metadata_size: Some(31235),
            upload_only: Some(true),
        };
        assert_eq!(ExtensionHandshake::decode(payload), Ok(expected));
    }

    #[test]
    fn what_is_out_of_range_is_left_out() {
        let payload = b"d1:md11:ut_metadatai256e6:ut_pex1:xe13:metadata_sizei4294967295e1:pi0e4:reqqi-1e1:vi1e6:yourip3:abcetail";
        assert_eq!(ExtensionHandshake::decode(payload), Ok(ExtensionHandshake::default()));
        for wrong in [&b""[..], b"le", b"d", b"d1:m"] {
            assert_eq!(ExtensionHandshake::decode(wrong), Err(MalformedExtension));
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = ExtensionHandshake { client: Some("é".repeat(1000)), ..Default::default() };
        let read = ExtensionHandshake::decode(&long.encode()).unwrap();
        assert_eq!(read.client, Some("é".repeat(MAX_CLIENT_CHARS)));
    }

    #[test]
    fn numbers_and_places_of_extensions_agree() {
        for (index, extension) in Extension::ALL.into_iter().enumerate() {
            assert_eq!(extension.index(), index);
            assert_eq!(Extension::of_local_id(extension.local_id()), Some(extension));
        }
        assert_eq!(Extension::of_local_id(0), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            ids: [Option<u8>; 4],
            port in prop::option::of(1u16..),
            client in prop::option::of("[a-z 0-9.µ]{0,60}"),
            ip: Option<[u8; 4]>,
            queue: Option<u32>,
            size in prop::option::of(1..ExtensionHandshake::MAX_METADATA),
            upload_only: Option<bool>,
        ) {
            let handshake = ExtensionHandshake {
                ids,
                listen_port: port,
                client,
                your_ip: ip.map(IpAddr::from),
                request_queue: queue,
                metadata_size: size,
                upload_only,
            };
            prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
        }
    }
}
