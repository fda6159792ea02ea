"""libtorrent as a contender: MODE STYLE TORRENT DIR LISTEN [PEER ...]

MODE is get (fetch, then end), seed (say when ready, then serve) or check (hash what is there, then end);
STYLE is default, or tuned for throughput.

Or: idle paused|seeding first|again DIR LISTEN, which adds many torrents, or finds them again; ends with its input.
"""
import os
import sys
import time

import libtorrent

mode, style, torrent, path, listen, *peers = sys.argv[1:]


def idle(state, first, path):
    """Torrents that nothing happens to."""
    with open("/proc/self/status") as status:
        held = next(line for line in status if line.startswith("VmRSS")).split()[1]
    print("base", held, flush=True)
    flags = libtorrent.torrent_flags
    kept = os.path.join(path, "kept")
    os.makedirs(kept, exist_ok=True)
    handles = []
    for name in os.listdir(os.path.join(path, "torrents")):
        if first:
            params = libtorrent.add_torrent_params()
            params.ti = libtorrent.torrent_info(os.path.join(path, "torrents", name))
            params.save_path = os.path.join(path, "files")
        else:
            with open(os.path.join(kept, name), "rb") as file:
                params = libtorrent.read_resume_data(file.read())
        params.flags &= ~flags.auto_managed
        if state == "paused":
            params.flags |= flags.paused
        else:
            params.flags &= ~flags.paused
        handles.append((name, session.add_torrent(params)))
    for _, handle in handles:
        while state == "seeding" and not handle.status().is_seeding:
            time.sleep(0.002)
    print("ready", flush=True)
    sys.stdin.read()
    if not first:
        return
    for name, handle in handles:
        handle.save_resume_data(libtorrent.save_resume_flags_t.save_info_dict)
        saved = None
        while saved is None:
            session.wait_for_alert(1000)
            alerts = session.pop_alerts()
            kinds = [alert for alert in alerts if isinstance(alert, libtorrent.save_resume_data_alert)]
            saved = kinds[0] if kinds else None
        with open(os.path.join(kept, name), "wb") as file:
            file.write(libtorrent.write_resume_data_buf(saved.params))


settings = {
    "listen_interfaces": listen,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "out_enc_policy": 2,
    "alert_mask": libtorrent.alert.category_t.status_notification,
}
if style == "tuned":
    settings |= {
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "in_enc_policy": 2,
        "tick_interval": 100,
        "connection_speed": 500,
        "torrent_connect_boost": 50,
        "unchoke_slots_limit": -1,
        "mixed_mode_algorithm": 0,
        "max_out_request_queue": 3000,
        "max_allowed_in_request_queue": 4000,
        "request_queue_time": 10,
        "aio_threads": 4,
        "hashing_threads": 2,
        "checking_mem_usage": 2048,
        "max_queued_disk_bytes": 32 << 20,
        "max_peer_recv_buffer_size": 5 << 20,
        "recv_socket_buffer_size": 4 << 20,
        "send_socket_buffer_size": 4 << 20,
        "send_buffer_watermark": 3 << 20,
        "send_buffer_low_watermark": 1 << 20,
        "send_buffer_watermark_factor": 150,
        "send_not_sent_low_watermark": 512 << 10,
        "suggest_mode": 0,
        "allowed_fast_set_size": 0,
        "no_atime_storage": True,
    }
if mode == "idle":
    settings |= {"active_limit": 5000, "active_seeds": 5000, "alert_mask": libtorrent.alert.category_t.storage_notification}
session = libtorrent.session(settings)
if mode == "idle":
    idle(style, torrent == "first", path)
    sys.exit(0)
params = libtorrent.add_torrent_params()
params.ti = libtorrent.torrent_info(torrent)
params.save_path = path
if mode == "seed":
    params.flags |= libtorrent.torrent_flags.seed_mode
handle = session.add_torrent(params)
for peer in peers:
    host, port = peer.rsplit(":", 1)
    handle.connect_peer((host, int(port)))
while not handle.status().is_seeding:
    session.wait_for_alert(100)
    session.pop_alerts()
if mode == "seed":
    print("seeding", flush=True)
    time.sleep(3600)
