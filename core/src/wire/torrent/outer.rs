//! Codec: what stands in a metainfo beside the info dictionary: where to find peers and the content, and remarks.

use super::error::MetainfoError;
use super::{MAX_ADDRESS_LEN, MAX_ADDRESSES};
use crate::wire::bencode::{Cursor, DecodeError, ValueKind};

/// Nothing in here is covered by the info-hash, and nothing is needed: what is malformed is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outer {
    announce: Option<String>,
    pub(super) tiers: Vec<Vec<String>>,
    pub(super) web_seeds: Vec<String>,
    pub(super) http_seeds: Vec<String>,
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) comment: Option<String>,
    pub(super) created_by: Option<String>,
    pub(super) creation_date: Option<i64>,
}

impl Outer {
    /// Reads the value of a key; keys that mean nothing here are read past.
    pub(super) fn read(&mut self, key: &[u8], value: &mut Cursor<'_>) -> Result<(), MetainfoError> {
        let kind = value.kind()?;
        match (key, kind) {
            (b"announce", ValueKind::String) => self.announce = address(value.bytes()?),
            (b"announce-list", ValueKind::List) => self.tiers = tiers(value)?,
            (b"url-list", _) => self.web_seeds = addresses(value)?,
            (b"httpseeds", _) => self.http_seeds = addresses(value)?,
            (b"nodes", ValueKind::List) => self.nodes = nodes(value)?,
            (b"comment", ValueKind::String) => self.comment = remark(value.bytes()?),
            (b"created by", ValueKind::String) => self.created_by = remark(value.bytes()?),
            (b"creation date", ValueKind::Integer) => self.creation_date = Some(value.int()?),
            _ => drop(value.skip()?),
        }
        Ok(())
    }

    /// BEP 12: where there is a list of trackers, the single one is not looked at.
    pub(super) fn finish(mut self) -> Self {
        if self.tiers.is_empty() {
            self.tiers.extend(self.announce.take().map(|url| vec![url]));
        }
        self.announce = None;
        self
    }
}

fn tiers(value: &mut Cursor<'_>) -> Result<Vec<Vec<String>>, DecodeError> {
    let mut tiers = Vec::new();
    let mut room = MAX_ADDRESSES;
    value.list(|tier| {
        let mut urls = addresses(tier)?;
        urls.truncate(room);
        room -= urls.len();
        if !urls.is_empty() {
            tiers.push(urls);
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(tiers)
}

/// A list of addresses, or a single one, as some write it.
fn addresses(value: &mut Cursor<'_>) -> Result<Vec<String>, DecodeError> {
    let mut urls = Vec::new();
    match value.kind()? {
        ValueKind::String => urls.extend(address(value.bytes()?)),
        ValueKind::List => value.list(|item| {
            if item.kind()? != ValueKind::String {
                return item.skip().map(drop);
            }
            if let Some(url) = address(item.bytes()?)
                && urls.len() < MAX_ADDRESSES
                && !urls.contains(&url)
            {
                urls.push(url);
            }
            Ok(())
        })?,
        _ => drop(value.skip()?),
    }
    Ok(urls)
}

fn nodes(value: &mut Cursor<'_>) -> Result<Vec<(String, u16)>, DecodeError> {
    let mut nodes = Vec::new();
    value.list(|node| {
        if node.kind()? != ValueKind::List {
            return node.skip().map(drop);
        }
        let (mut host, mut port) = (None, None);
        node.list(|item| {
            match item.kind()? {
                ValueKind::String => host = address(item.bytes()?),
                ValueKind::Integer => port = u16::try_from(item.int()?).ok().filter(|port| *port > 0),
                _ => drop(item.skip()?),
            }
            Ok::<_, DecodeError>(())
        })?;
        if let (Some(host), Some(port)) = (host, port)
            && nodes.len() < MAX_ADDRESSES
        {
            nodes.push((host, port));
        }
        Ok(())
    })?;
    Ok(nodes)
}

/// An address, without the spaces that some leave around it.
pub(super) fn address(bytes: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(bytes).ok()?.trim();
    let is_address = (1..=MAX_ADDRESS_LEN).contains(&text.len()) && !text.contains(char::is_control);
    is_address.then(|| text.to_owned())
}

fn remark(bytes: &[u8]) -> Option<String> {
    let mut text = String::from_utf8_lossy(bytes).trim().to_owned();
    let end = (0..=text.len().min(MAX_REMARK_LEN)).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    Some(text).filter(|text| !text.is_empty())
}

/// The most of a remark that is kept, in bytes: every torrent that is added holds its own.
const MAX_REMARK_LEN: usize = 4096;
