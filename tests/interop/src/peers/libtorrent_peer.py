"""A libtorrent peer: seeds, or gets and then ends. No DHT, no local discovery, no encryption."""
import argparse
import os
import sys
import time

import libtorrent

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["seed", "get"])
parser.add_argument("torrent")
parser.add_argument("path")
parser.add_argument("listen")
parser.add_argument("--peer")
parser.add_argument("--seconds", type=float, default=120)
parser.add_argument("--upload-limit", type=int)
parser.add_argument("--sent", help="a file that says how many bytes of payload were sent")
args = parser.parse_args()

session = libtorrent.session({
    "listen_interfaces": args.listen,
    "outgoing_interfaces": args.listen.rsplit(":", 1)[0].strip("[]"),
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "out_enc_policy": 2,
})
if args.torrent.startswith("magnet:"):
    params = libtorrent.parse_magnet_uri(args.torrent)
else:
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(args.torrent)
params.save_path = args.path
handle = session.add_torrent(params)
if args.upload_limit:
    # That of the session does not hold for local peers.
    handle.set_upload_limit(args.upload_limit)
if args.peer:
    host, port = args.peer.rsplit(":", 1)
    handle.connect_peer((host.strip("[]"), int(port)))
end = time.monotonic() + args.seconds
told = False
while time.monotonic() < end:
    status = handle.status()
    if args.sent:
        with open(args.sent + ".new", "w") as file:
            file.write(str(status.total_payload_upload))
        os.rename(args.sent + ".new", args.sent)
    if status.is_seeding and args.mode == "get":
        time.sleep(0.3)
        sys.exit(0)
    if status.is_seeding and not told:
        told = True
        print("seeding", flush=True)
    time.sleep(0.02)
print(status.state, status.progress, status.num_peers)
sys.exit(0 if args.mode == "seed" else 1)
