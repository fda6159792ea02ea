//! Machine: the trackers of one torrent (BEP 12).
