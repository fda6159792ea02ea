"""A libtorrent peer: seeds, or gets and then ends. No DHT, no local discovery, no encryption."""
import sys
import time

import libtorrent

mode, torrent, path, listen, peer, seconds = sys.argv[1:7]
session = libtorrent.session({
    "listen_interfaces": listen,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "out_enc_policy": 2,
})
if torrent.startswith("magnet:"):
    params = libtorrent.parse_magnet_uri(torrent)
else:
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(torrent)
params.save_path = path
handle = session.add_torrent(params)
if peer != "-":
    host, port = peer.rsplit(":", 1)
    handle.connect_peer((host.strip("[]"), int(port)))
end = time.monotonic() + float(seconds)
told = False
while time.monotonic() < end:
    status = handle.status()
    if status.is_seeding and mode == "get":
        time.sleep(0.3)
        sys.exit(0)
    if status.is_seeding and not told:
        told = True
        print("seeding", flush=True)
    time.sleep(0.02)
print(status.state, status.progress, status.num_peers)
sys.exit(0 if mode == "seed" else 1)
