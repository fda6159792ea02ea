//! Codecs: metainfo files (BEP 3) and magnet links (BEP 9).
