//! Machine: a web server that has the files of a torrent (BEP 17, 19).
