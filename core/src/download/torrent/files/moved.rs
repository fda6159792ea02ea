//! What there is to move of a torrent at rest, and what is known of it afterwards.

use super::folders::Folders;
use super::{FilesSaved, handles};
use crate::base::FileName;
use crate::base::disk::FileIdentity;
use crate::download::moving::Item;
use crate::wire::torrent::Metainfo;
use std::collections::{BTreeMap, BTreeSet};

impl FilesSaved {
    /// The files that are known to be there, whoever made them.
    pub(crate) fn items(&self, metainfo: &Metainfo) -> Vec<Item> {
        let folders = Folders::new(metainfo);
        let of_number = |(number, identity): (usize, Option<FileIdentity>)| {
            let number = u32::try_from(number).ok()?;
            let folder = folders.path(folders.of(number));
            let mut names =
                vec![handles::name_in(metainfo, number, true), handles::name_in(metainfo, number, false)];
            names.dedup();
            let executable = metainfo.files().get(number as usize).is_some_and(|file| file.executable);
            Some(Item { number, folder, names, identity: identity?, executable })
        };
        let files = self.files.iter().chain([&self.parts]).map(|file| file.identity);
        files.enumerate().filter_map(of_number).collect()
    }

    /// The folders that were made for the torrent; what is below them was, too.
    pub(crate) fn own_folders(&self) -> &BTreeSet<Vec<FileName>> {
        &self.folders
    }

    /// All is in another directory now, some of it copied, and these folders were made for it.
    pub(crate) fn moved(&mut self, copies: &BTreeMap<u32, FileIdentity>, folders: BTreeSet<Vec<FileName>>) {
        for (number, identity) in copies {
            self.file_mut(*number).identity = Some(*identity);
        }
        self.folders = folders;
    }
}
