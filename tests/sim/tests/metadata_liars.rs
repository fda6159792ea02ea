//! Magnet links among peers that lie about what the torrent is: one honest peer is enough, whenever it comes.

use core::time::Duration;
use gosh_dl_core::base::InfoHash;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{Engine, EngineConfig};
use gosh_dl_core::wire::peer::{Extension, ExtensionHandshake, Message, MetadataMessage};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, Mouth, Rogue, Turn, World};

/// So many pieces that the info dictionary has two parts.
fn file() -> OneFile {
    OneFile::new(Content::generated(4, 16_000_000), 16 << 10)
}

/// What is lied about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// It never answers.
    Silence,
    /// It rejects all requests.
    Refusal,
    /// It sends the first part and never the second.
    Half,
    /// It sends all parts, and they are wrong.
    Rubbish,
}

/// What a liar says where it pretends that there are `size` bytes.
fn liar(number: u8, lie: Lie, size: u32) -> Rogue {
    let info = file().metainfo.info_bytes().clone();
    Rogue::new(place(number), &file().metainfo, move |mouth: &mut Mouth, turn| match turn {
        Turn::Greeted => {
            let ids = Extension::ALL.map(|extension| Some(extension.local_id()));
            mouth.say(&[Message::HaveAll]);
            mouth.introduce(&ExtensionHandshake { ids, metadata_size: Some(size), ..Default::default() });
        }
        Turn::Heard(Message::Extended { id, payload }) if id == Extension::Metadata.local_id() => {
            let Ok(Some(MetadataMessage::Request { piece })) = MetadataMessage::decode(&payload) else {
                return;
            };
            let start = piece << 14;
            let bytes = match lie {
                Lie::Rubbish => vec![7; (size - start).min(16 << 10) as usize].into(),
                Lie::Half if piece == 0 => info.slice(..16 << 10),
                Lie::Silence | Lie::Half => return,
                Lie::Refusal => {
                    return mouth
                        .extension(Extension::Metadata, MetadataMessage::Reject { piece }.encode_head());
                }
            };
            let head = MetadataMessage::Data { piece, total_size: size, data: bytes.clone() }.encode_head();
            mouth.extension(Extension::Metadata, [&head[..], &bytes].concat());
        }
        _ => {}
    })
}

fn assert_learns(lies: &[(Lie, u32)], limit: Duration) {
    let mut world = World::new(7);
    let hash: InfoHash = file().metainfo.info_hash();
    let mut link = format!("magnet:?xt=urn:btih:{hash}");
    for (number, (lie, size)) in (1..).zip(lies) {
        world.add_actor(&[place(number).ip()], liar(number, *lie, *size));
        link += &format!("&x.pe={}", place(number));
    }
    let leecher = world.add_station(&[place(200).ip()], EngineConfig::new());
    let add = |engine: &mut Engine, now, token| engine.add_magnet(now, &link, DownloadOptions::new(), token);
    let id = world.command(leecher, add).1.expect("it is taken");
    world.run_for(Duration::from_secs(3));
    file().seed(&mut world, 100, EngineConfig::new(), DownloadOptions::new().peer(place(200)));
    let knows = |world: &mut World| world.status_of((leecher, id)).progress.total_size.is_some();
    assert!(world.run_until(knows, limit), "{lies:?}: {}", world.report());
}

#[test]
fn a_liar_that_was_there_first_keeps_nobody_from_the_metadata() {
    let right = file().metainfo.info_bytes().len() as u32;
    assert!((16 << 10..32 << 10).contains(&right), "{right}: two parts");
    for lie in [Lie::Silence, Lie::Refusal, Lie::Half, Lie::Rubbish] {
        for size in [right, right - 1, right + 1, 1, 16 << 20] {
            assert_learns(&[(lie, size)], Duration::from_secs(60));
        }
    }
}

#[test]
fn many_liars_keep_nobody_from_the_metadata_either() {
    let right = file().metainfo.info_bytes().len() as u32;
    for lie in [Lie::Silence, Lie::Refusal, Lie::Half, Lie::Rubbish] {
        assert_learns(&[(lie, right), (lie, right), (lie, right)], Duration::from_secs(120));
        let sizes = [1, 100, right - 1, right + 1, 1 << 20, 16 << 20];
        assert_learns(&sizes.map(|size| (lie, size)), Duration::from_secs(120));
    }
    let mixed = [(Lie::Half, right), (Lie::Rubbish, right), (Lie::Refusal, right), (Lie::Silence, right)];
    assert_learns(&mixed, Duration::from_secs(180));
}
