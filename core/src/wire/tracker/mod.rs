//! Codecs: announce and scrape, over HTTP (BEP 3, 23) and UDP (BEP 15).
