//! A store made of parts of others: an engine on it knows only of the chosen downloads, and leaves the others alone.

use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use std::collections::HashSet;

/// The chosen records of one store.
pub(crate) struct Part {
    store: Box<dyn Store>,
    records: Vec<Record>,
    keys: HashSet<Vec<u8>>,
}

impl Part {
    /// `records` are those of the store's that were chosen; `keys` are the keys of their downloads.
    pub(crate) fn new(store: Box<dyn Store>, records: Vec<Record>, keys: HashSet<Vec<u8>>) -> Self {
        Self { store, records, keys }
    }
}

/// Parts of one or more stores, as one. What is changed goes to the store that it came from; what is new, to the first.
pub(crate) struct Selection {
    parts: Vec<Part>,
}

impl Selection {
    /// At least one part.
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    fn home(&self, key: &[u8]) -> usize {
        self.parts.iter().position(|part| part.keys.contains(key)).unwrap_or(0)
    }
}

impl Store for Selection {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let mut all = Vec::new();
        for (index, part) in self.parts.iter_mut().enumerate() {
            let records = std::mem::take(&mut part.records);
            all.extend(records.into_iter().filter(|record| index == 0 || record.table != Table::Meta));
        }
        Ok(all)
    }

    /// With more than one part each part of the batch is applied whole; the parts follow one another. A batch never
    /// relates two downloads, so nothing is lost by that.
    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError> {
        if let [only] = &mut self.parts[..] {
            return only.store.commit(batch);
        }
        let mut batches = vec![Vec::new(); self.parts.len()];
        for op in batch {
            let (StoreOp::Put { table, key, .. } | StoreOp::Delete { table, key }) = op;
            if *table == Table::Meta {
                batches.iter_mut().for_each(|batch| batch.push(op.clone()));
            } else {
                batches[self.home(key)].push(op.clone());
            }
        }
        for (part, batch) in self.parts.iter_mut().zip(batches) {
            if !batch.is_empty() {
                part.store.commit(&batch)?;
            }
        }
        Ok(())
    }

    /// A note is about one store; many parts keep none, and fetch a little more again after a crash.
    fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
        match &mut self.parts[..] {
            [only] => only.store.save_note(note),
            _ => Ok(()),
        }
    }

    fn load_note(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match &mut self.parts[..] {
            [only] => only.store.load_note(),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::base::store::MemoryStore;

    fn put(table: Table, key: &str, value: &str) -> StoreOp {
        StoreOp::Put { table, key: key.to_owned().into(), value: value.to_owned().into() }
    }

    fn part(store: &MemoryStore, chosen: &[&str]) -> Part {
        let keys: HashSet<Vec<u8>> = chosen.iter().map(|key| key.as_bytes().to_vec()).collect();
        let records = store.clone().load().unwrap();
        let records =
            records.into_iter().filter(|r| r.table == Table::Meta || keys.contains(&r.key)).collect();
        Part::new(Box::new(store.clone()), records, keys)
    }

    fn contents(store: &MemoryStore) -> Vec<String> {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = store.clone().load().unwrap();
        records.iter().map(|r| format!("{:?} {}={}", r.table, show(&r.key), show(&r.value))).collect()
    }

    #[test]
    fn only_chosen_records_are_loaded_and_others_are_left_alone() {
        let mut store = MemoryStore::new();
        store
            .commit(&[
                put(Table::Meta, "v", "1"),
                put(Table::Download, "a", "1"),
                put(Table::Download, "b", "1"),
                put(Table::Progress, "b", "1"),
            ])
            .unwrap();
        let mut selection = Selection::new(vec![part(&store, &["b"])]);
        assert_eq!(selection.load().unwrap().len(), 3);
        selection.commit(&[put(Table::Progress, "b", "2"), put(Table::Download, "c", "1")]).unwrap();
        assert_eq!(
            contents(&store),
            ["Meta v=1", "Download a=1", "Download b=1", "Download c=1", "Progress b=2"]
        );
    }

    #[test]
    fn changes_go_to_the_store_they_came_from() {
        let (mut one, mut two) = (MemoryStore::new(), MemoryStore::new());
        one.commit(&[put(Table::Meta, "v", "1"), put(Table::Download, "a", "1")]).unwrap();
        two.commit(&[put(Table::Meta, "v", "1"), put(Table::Download, "b", "1")]).unwrap();
        let mut selection = Selection::new(vec![part(&one, &["a"]), part(&two, &["b"])]);
        assert_eq!(selection.load().unwrap().len(), 3);
        let delete = StoreOp::Delete { table: Table::Download, key: "a".into() };
        selection.commit(&[delete, put(Table::Download, "b", "2"), put(Table::Meta, "v", "2")]).unwrap();
        assert_eq!(contents(&one), ["Meta v=2"]);
        assert_eq!(contents(&two), ["Meta v=2", "Download b=2"]);
    }
}
