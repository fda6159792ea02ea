//! Machine: the files of one torrent.
