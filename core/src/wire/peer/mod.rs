//! Codecs: what peers say to each other (BEP 3, 6, 9, 10, 11).
