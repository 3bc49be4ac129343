#!/usr/bin/env python3
"""Makes vectors.json: packets in, packets out, as scapy (not our own code) builds them.

    /usr/bin/python3 tests/vectors/generate.py > tests/vectors/vectors.json

The flow hash is written down a second time here, from its description in
anycast-lb-common/src/hash.rs, so that outer source ports are checked too.
"""

import ipaddress
import json
import re
import struct
import sys

from scapy.layers.dns import DNS, DNSQR, DNSRROPT, EDNS0TLV
from scapy.all import (
    ARP, Dot1AD, Dot1Q, Ether, GRE, ICMP, IP, IPOption, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NS,
    ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, PadN, Raw, SCTP, TCP, UDP,
)

M64 = (1 << 64) - 1
SEED = bytes(range(16))
PREVIOUS_SEED = bytes(range(100, 116))

CLIENT_MAC, NODE_MAC = "02:00:00:00:00:c1", "02:00:00:00:00:01"
OUT_MAC, NEXT_MAC = "02:00:00:00:00:02", "02:00:00:00:00:0b"
CLIENT, CLIENT6 = "192.0.2.7", "2001:db8:ffff::7"
NODE, NODE6 = "10.0.0.2", "fd00::2"
BACKEND, BACKEND6 = "10.0.0.11", "fd00::11"

POOLS = {
    "gue4": {"encap": "gue", "address": BACKEND},
    "gue6": {"encap": "gue", "address": BACKEND6},
    "ipip4": {"encap": "ipip", "address": BACKEND},
    "ipip6": {"encap": "ipip", "address": BACKEND6},
    "l2": {"encap": "l2", "address": BACKEND},
    "l2-6": {"encap": "l2", "address": BACKEND6},
    "listed": {"encap": "gue", "address": BACKEND, "hops": ["10.0.0.12", "10.0.0.13", "10.0.0.14"]},
    "listed6": {"encap": "gue", "address": BACKEND6, "hops": [f"fd00::{n}" for n in range(21, 28)]},
    "listed-ipip": {"encap": "ipip", "address": BACKEND, "hops": ["10.0.0.12"]},
    "narrow-listed": {"encap": "gue", "address": BACKEND, "mtu": 600, "hops": ["10.0.0.12", "10.0.0.13", "10.0.0.14"]},
    "narrow-listed6": {"encap": "gue", "address": BACKEND6, "mtu": 700, "hops": [f"fd00::{n}" for n in range(21, 28)]},
    "leaving": {"encap": "gue", "address": None, "hops": ["10.0.0.12", "10.0.0.13"]},
    "reseeded": {"encap": "gue", "address": BACKEND, "hops": ["10.0.0.12"], "previous": "10.0.0.19"},
    "elsewhere": {"encap": "gue", "address": BACKEND, "ifindex": 999},
    "narrow": {"encap": "gue", "address": BACKEND, "mtu": 600},
    # Servers by the IDs in connection IDs: the owner, who is listed, and who is not.
    "quic": {"encap": "gue", "address": BACKEND, "hops": ["10.0.0.12"], "previous": "10.0.0.19",
             "servers": {"000b": BACKEND, "000c": "10.0.0.12", "0013": "10.0.0.19", "004d": "10.0.0.77"}},
    "quic6": {"encap": "gue", "address": BACKEND6, "hops": [f"fd00::{n}" for n in range(21, 28)],
              "servers": {"0a0b0c0d0e0f": "fd00::27", "ffffffffffff": "fd00::77"}},
    "quic-ipip": {"encap": "ipip", "address": BACKEND, "table": "none", "servers": {"4d": "10.0.0.77"}},
    "quic-l2": {"encap": "l2", "address": BACKEND, "table": "empty", "servers": {"4d": "10.0.0.77"}},
    "quic-leaving": {"encap": "gue", "address": None, "hops": ["10.0.0.12"], "servers": {"000c": "10.0.0.12"}},
    "narrow6": {"encap": "gue", "address": BACKEND6, "mtu": 1400},
    "narrow-l2": {"encap": "l2", "address": BACKEND, "mtu": 1400},
    "clamped": {"encap": "gue", "address": BACKEND, "mtu": 1500},
    "clamped6": {"encap": "gue", "address": BACKEND6, "mtu": 1500},
    "clamped-ipip": {"encap": "ipip", "address": BACKEND, "mtu": 1500},
    "jumbo": {"encap": "gue", "address": BACKEND, "mtu": 9216, "hops": ["10.0.0.12", "10.0.0.13", "10.0.0.14"]},
    "jumbo6": {"encap": "gue", "address": BACKEND6, "mtu": 9216, "hops": [f"fd00::{n}" for n in range(21, 28)]},
    "jumbo-ipip": {"encap": "ipip", "address": BACKEND, "mtu": 9216},
    "unresolved": {"encap": "gue", "address": BACKEND, "resolved": False},
    "empty": {"table": "empty"},
    "none": {"table": "none"},
    "broken": {"table": "broken"},
}
VIPS = [
    ("203.0.113.1", 80, "tcp", "gue4"), ("203.0.113.1", 53, "udp", "gue4"), ("203.0.113.1", 443, "tcp", "elsewhere"),
    ("203.0.113.2", None, "tcp", "ipip4"), ("203.0.113.2", None, "udp", "ipip6"), ("203.0.113.2", 8080, "tcp", "l2"),
    ("203.0.113.3", None, "any", "ipip6"), ("203.0.113.4", 80, "tcp", "l2"), ("203.0.113.5", 80, "tcp", "gue6"),
    ("203.0.113.6", 80, "tcp", "empty"), ("203.0.113.6", 81, "tcp", "none"), ("203.0.113.6", 82, "tcp", "broken"),
    ("203.0.113.7", 80, "tcp", "unresolved"), ("203.0.113.8", 80, "tcp", "narrow"),
    ("2001:db8:0:1::1", 80, "tcp", "gue4"), ("2001:db8:0:1::2", None, "udp", "gue6"),
    ("2001:db8:0:1::3", None, "any", "ipip6"), ("2001:db8:0:1::4", 80, "tcp", "ipip4"),
    ("2001:db8:0:1::5", 80, "tcp", "l2-6"),
]
VIPS += [
    ("203.0.113.8", 80, "udp", "narrow"), ("203.0.113.9", 80, "tcp", "narrow6"), ("203.0.113.10", 80, "tcp", "narrow-l2"),
    ("2001:db8:0:1::8", 80, "tcp", "narrow"), ("2001:db8:0:1::9", 80, "tcp", "narrow6"),
]
VIPS += [("203.0.113.60", 80, "udp", "jumbo"), ("203.0.113.60", 81, "tcp", "jumbo-ipip")]
CLAMPED = [
    ("203.0.113.40", 80, "tcp", "clamped"), ("203.0.113.40", 80, "udp", "clamped"), ("203.0.113.41", 80, "tcp", "clamped6"),
    ("203.0.113.42", 80, "tcp", "clamped-ipip"), ("2001:db8:0:1::40", 80, "tcp", "clamped"),
    ("2001:db8:0:1::41", 80, "tcp", "clamped6"),
]
# VIPs whose node tells its name.
IDENTITY = [
    ("203.0.113.50", 53, "udp", "gue4"), ("203.0.113.50", 53, "tcp", "gue4"), ("2001:db8:0:1::50", 53, "udp", "gue6"),
]
SECOND_CHANCE = [
    ("203.0.113.60", 80, "tcp", "jumbo"), ("2001:db8:0:1::60", 80, "tcp", "jumbo6"),
    ("203.0.113.26", 80, "tcp", "narrow-listed"), ("203.0.113.26", 80, "udp", "narrow-listed"),
    ("203.0.113.27", 80, "tcp", "narrow-listed6"),
    ("2001:db8:0:1::20", 80, "tcp", "listed6"),
    ("203.0.113.20", 80, "tcp", "listed"), ("203.0.113.20", 80, "udp", "listed"), ("203.0.113.21", 80, "tcp", "listed6"),
    ("203.0.113.21", 80, "udp", "listed6"), ("203.0.113.22", 80, "tcp", "listed-ipip"),
    ("203.0.113.23", 80, "tcp", "leaving"), ("203.0.113.23", 80, "udp", "leaving"),
    ("203.0.113.24", 80, "tcp", "reseeded"),
]
VIPS += [("203.0.113.25", 80, "tcp", "listed"), ("203.0.113.25", 81, "tcp", "leaving")]
# Addresses whose VIPs hash parts of the flow.
HASHED = [
    ("203.0.113.30", None, "udp", "gue4", ["source"]), ("203.0.113.31", 80, "tcp", "gue4", ["source", "source port"]),
    ("203.0.113.32", None, "udp", "gue4", ["destination port"]), ("203.0.113.33", None, "any", "gue4", ["source"]),
    ("2001:db8:0:1::30", None, "udp", "gue6", ["source"]),
    ("2001:db8:0:1::31", 80, "tcp", "gue4", ["source", "source port"]),
    ("2001:db8:0:1::32", None, "tcp", "gue6", ["destination port"]),
]
# VIPs of QUIC: configuration, octets of a server ID.
QUIC = [
    ("203.0.113.60", 443, "udp", "quic", 2, 2, []), ("2001:db8:0:1::60", None, "udp", "quic6", 0, 6, []),
    ("203.0.113.61", None, "udp", "quic-ipip", 6, 1, []), ("203.0.113.62", 443, "udp", "quic-l2", 1, 1, []),
    ("203.0.113.63", 443, "udp", "quic-leaving", 2, 2, []), ("203.0.113.64", 443, "udp", "quic", 2, 2, ["source"]),
]
HASHED += [(a, None, None, None, parts) for a, _, _, _, _, _, parts in QUIC if parts]
PARTS = {address: parts for address, _, _, _, parts in HASHED}
PREFIXES = ["203.0.113.0/24", "2001:db8:0:1::/64"]
SENDERS = ["10.0.0.0/24", "fd00::/64"]
LOCALS = [BACKEND, BACKEND6]

# --- the flow hash, from its description -------------------------------------------------------


def rotl(x, n):
    return (x << n | x >> (64 - n)) & M64


def siphash24(key, message):
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & M64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & M64
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M64
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = message + b"\0" * (7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


KEYS = [siphash24(SEED, struct.pack("<Q", n)) for n in range(13)]
OFFSET, FACTORS, FINISH = KEYS[0], KEYS[1:11], [k | 1 for k in KEYS[11:13]]


def flow_hash(source, destination, sport, dport, protocol):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    parts = PARTS.get(destination)
    if parts:
        packed = packed[:len(packed) // 2] if "source" in parts else b""
        sport, dport = sport if "source port" in parts else 0, dport if "destination port" in parts else 0
        protocol = 0
    words = [w for (w,) in struct.iter_unpack("<I", packed)]
    (ports,) = struct.unpack("<I", struct.pack(">HH", sport, dport))
    h = OFFSET + FACTORS[0] * ports + FACTORS[1] * protocol
    h = (h + sum(f * w for f, w in zip(FACTORS[2:], words))) & M64
    h = (h ^ h >> 32) * FINISH[0] & M64
    h = (h ^ h >> 29) * FINISH[1] & M64
    return h ^ h >> 32


# --- building packets ---------------------------------------------------------------------------


def client(packet, **ether):
    return Ether(src=CLIENT_MAC, dst=NODE_MAC, **ether) / packet


def ports_of(ip):
    for layer in (TCP, UDP):
        if layer in ip:
            return ip[layer].sport, ip[layer].dport
    return 0, 0


def final_protocol(ip):
    for layer, number in ((TCP, 6), (UDP, 17), (SCTP, 132), (GRE, 47)):
        if layer in ip:
            return number
    return bytes(ip)[9] if ip.version == 4 else bytes(ip)[6]


def tunnelled(ip, pool, address=None, hops=(), first=None, about=None):
    """What the ingress makes of the IP packet `ip` for the backend of `pool`, or the one at `address`.
    Fragments have the hash of the `first` one, of which the upper half is remembered and stands for both;
    an ICMP error has that of the client's packets of the flow it is `about`."""
    spec = dict(POOLS[pool])
    spec["address"] = address or spec["address"]
    inner = bytes(ip)
    v6 = ip.version == 6
    hashed = first or about or ip
    sport, dport = ports_of(hashed)
    h = flow_hash(hashed.src, hashed.dst, sport, dport, final_protocol(hashed))
    if first is not None:
        h = h >> 32 << 32 | h >> 32
    number = 41 if v6 else 4
    tos = ip.tc if v6 else ip.tos
    ether = Ether(src=OUT_MAC, dst=NEXT_MAC)
    if spec["encap"] == "l2":
        return bytes(ether)[:12] + (b"\x86\xdd" if v6 else b"\x08\x00") + inner
    outer6 = ":" in spec["address"]
    udp = spec["encap"] == "gue"
    if outer6:
        outer = IPv6(src=NODE6, dst=spec["address"], hlim=64, tc=tos, fl=h & 0xFFFFF, nh=17 if udp else number)
        kind = 1
    else:
        outer = IP(src=NODE, dst=spec["address"], ttl=64, tos=tos, flags="DF", id=0, proto=17 if udp else number)
        kind = 0
    body = inner
    if udp:
        listed = b"".join(ipaddress.ip_address(hop).packed for hop in hops)
        gue = bytes([1 + len(listed) // 4, number, 0, 0]) + struct.pack(">HBB", kind, 0, len(hops)) + listed
        header = struct.pack(">HHHH", 0x8000 | h & 0x7FFF, 19523, 8 + len(gue) + len(inner), 0)
        body = header + gue + inner
    return bytes(ether / outer / Raw(body))


def sent(inner, outer6=False, gue=None, ecn=0, src=None, dst=None, udp_extra=0, ipip=None, **outer):
    """A tunnelled frame as a backend receives it; `gue` is the whole GUE header, `ipip` a protocol."""
    if outer6:
        ip = IPv6(src=src or NODE6, dst=dst or BACKEND6, tc=ecn, nh=17 if ipip is None else ipip, **outer)
    else:
        ip = IP(src=src or NODE, dst=dst or BACKEND, tos=ecn, flags=outer.pop("flags", "DF"),
                proto=17 if ipip is None else ipip, **outer)
    body = bytes(inner)
    if ipip is None:
        number = 41 if getattr(inner, "version", 4) == 6 else 4
        if gue is None:
            gue = bytes([1, number, 0, 0, 0, 1 if outer6 else 0, 0, 0])
        body = gue + body
        body = struct.pack(">HHHH", 0x9999, 19523, 8 + len(body) + udp_extra, 0) + body
    return Ether(src=CLIENT_MAC, dst=NODE_MAC) / ip / Raw(body)


def received(inner):
    """What the kernel of the backend gets."""
    v6 = getattr(inner, "version", 4) == 6
    return bytes.fromhex("020000000001" "0200000000c1") + (b"\x86\xdd" if v6 else b"\x08\x00") + bytes(inner)


vectors = []


def written(packet):
    """In hex; `(6a*8890)` are so many of the same byte."""
    runs = re.finditer(rb"(.)\1*", packet, re.DOTALL)
    pieces = ((run[0], len(run[0])) for run in runs)
    return "".join(f"({piece[:1].hex()}*{n})" if n > 1000 else piece.hex() for piece, n in pieces)


def vector(name, program, packet, verdict, out=None, **variant):
    """`variant`: mode="unmatched-pass" for a node that passes what it does not match, "seed-change" for
    one whose seed is being changed, "no-hops" for a backend that sends nothing on; metadata=N for N
    bytes of metadata in front of the frame, which leave less headroom; before=[…] for frames that
    came before."""
    packet = bytes(packet)
    vectors.append({
        "name": name, "program": program, "in": written(packet), "verdict": verdict,
        "out": written(packet if out is None else bytes(out)), **variant,
    })


def forwards(name, ip, pool, verdict, frame=None, address=None, hops=(), first=None, about=None, **variant):
    ip = ip.__class__(bytes(ip))  # lengths and checksums as they stand on the wire
    vector(name, "ingress", frame or client(ip), verdict, tunnelled(ip, pool, address, hops, first, about), **variant)


def drops(name, packet, verdict, program="ingress"):
    vector(name, program, packet, verdict)


# More than a page, with both ends told apart.
JUMBO = Raw(b"begin" + b"j" * 8890 + b"end!!")
DATA = Raw(b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n")


def tcp4(dst, dport, **ip):
    return IP(src=CLIENT, dst=dst, id=0x1234, **ip) / TCP(sport=51234, dport=dport, flags="PA", seq=1, ack=2) / DATA


def tcp6(dst, dport, **ip):
    return IPv6(src=CLIENT6, dst=dst, **ip) / TCP(sport=51234, dport=dport, flags="PA", seq=1, ack=2) / DATA


# --- ingress: what is sent on -------------------------------------------------------------------

forwards("v4 in gue over v4", tcp4("203.0.113.1", 80), "gue4", "forwarded_gue")
forwards("v4 in gue over v6", tcp4("203.0.113.5", 80), "gue6", "forwarded_gue")
forwards("v6 in gue over v4", tcp6("2001:db8:0:1::1", 80), "gue4", "forwarded_gue")
forwards("v6 udp on any port in gue over v6",
         IPv6(src=CLIENT6, dst="2001:db8:0:1::2") / UDP(sport=1, dport=65535) / Raw(b"x" * 9), "gue6", "forwarded_gue")
forwards("v4 ipip on any port", tcp4("203.0.113.2", 9999), "ipip4", "forwarded_ipip")
forwards("4in6", IP(src=CLIENT, dst="203.0.113.2") / UDP(sport=5, dport=6) / DATA, "ipip6", "forwarded_ipip")
forwards("ip6ip6", tcp6("2001:db8:0:1::3", 1), "ipip6", "forwarded_ipip")
forwards("6in4", tcp6("2001:db8:0:1::4", 80), "ipip4", "forwarded_ipip")
forwards("l2", tcp4("203.0.113.4", 80), "l2", "forwarded_l2")
forwards("l2 v6", tcp6("2001:db8:0:1::5", 80), "l2-6", "forwarded_l2")
forwards("the exact port wins over any port", tcp4("203.0.113.2", 8080), "l2", "forwarded_l2")
forwards("another interface", tcp4("203.0.113.1", 443), "elsewhere", "forwarded_gue")
forwards("udp without checksum", IP(src=CLIENT, dst="203.0.113.1") / UDP(sport=9, dport=53, chksum=0) / DATA,
         "gue4", "forwarded_gue")
forwards("any protocol: tcp", tcp4("203.0.113.3", 7), "ipip6", "forwarded_ipip")
forwards("any protocol: sctp", IP(src=CLIENT, dst="203.0.113.3") / SCTP(sport=1, dport=2) / Raw(b"abcd"), "ipip6",
         "forwarded_ipip")
forwards("any protocol: gre", IP(src=CLIENT, dst="203.0.113.3") / GRE() / Raw(b"abcd"), "ipip6", "forwarded_ipip")
forwards("any protocol: nothing behind the header", IP(src=CLIENT, dst="203.0.113.3", proto=99), "ipip6",
         "forwarded_ipip")
forwards("ip options", tcp4("203.0.113.1", 80, options=[IPOption(b"\x94\x04\x00\x00")]), "gue4", "forwarded_gue")
forwards("forty bytes of ip options", tcp4("203.0.113.1", 80, options=[IPOption(b"\x01" * 40)]), "gue4",
         "forwarded_gue")
for ecn, name in ((0, "not-ect"), (1, "ect1"), (2, "ect0"), (3, "ce")):
    forwards(f"tos and ecn {name} are copied", tcp4("203.0.113.1", 80, tos=0xB8 | ecn), "gue4", "forwarded_gue")
    forwards(f"traffic class and ecn {name} are copied", tcp6("2001:db8:0:1::3", 80, tc=0xB8 | ecn, fl=0xABCDE), "ipip6",
             "forwarded_ipip")
forwards("ttl 1 is the client's business", tcp4("203.0.113.1", 80, ttl=1), "gue4", "forwarded_gue")
forwards("a lone syn", IP(src=CLIENT, dst="203.0.113.1") / TCP(sport=1025, dport=80, flags="S"), "gue4",
         "forwarded_gue",
         frame=bytes(client(IP(src=CLIENT, dst="203.0.113.1") / TCP(sport=1025, dport=80, flags="S"))) + b"\0" * 6)
short = IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / UDP(sport=7, dport=53) / Raw(b"q")))
forwards("60 byte frame loses its padding", short, "gue4", "forwarded_gue",
         frame=bytes(client(short)).ljust(60, b"\xee"))
forwards("60 byte frame loses its padding, l2",
         IP(bytes(IP(src=CLIENT, dst="203.0.113.4") / TCP(sport=7, dport=80, flags="A"))), "l2", "forwarded_l2",
         frame=bytes(client(IP(src=CLIENT, dst="203.0.113.4") / TCP(sport=7, dport=80, flags="A"))).ljust(60, b"\xee"))
forwards("frame much longer than its ip length", short, "gue4", "forwarded_gue",
         frame=bytes(client(short)) + b"\xaa" * 1000)
for tags, name in (([Dot1Q(vlan=100)], "one vlan tag"), ([Dot1AD(vlan=7), Dot1Q(vlan=100)], "two vlan tags")):
    ip4, ip6 = IP(bytes(tcp4("203.0.113.1", 80))), IPv6(bytes(tcp6("2001:db8:0:1::3", 80)))
    l2 = IP(bytes(tcp4("203.0.113.4", 80)))
    stack = tags[0] if len(tags) == 1 else tags[0] / tags[1]
    forwards(f"{name}, v4", ip4, "gue4", "forwarded_gue", frame=client(stack / ip4))
    forwards(f"{name}, v6", ip6, "ipip6", "forwarded_ipip", frame=client(stack / ip6))
    forwards(f"{name}, l2", l2, "l2", "forwarded_l2", frame=client(stack / l2))
EXTENSIONS = {
    "hop-by-hop": IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
    "routing": IPv6ExtHdrRouting(addresses=["2001:db8::9"]),
    "destination options": IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
    "atomic fragment": IPv6ExtHdrFragment(offset=0, m=0, id=77),
}
for name, header in EXTENSIONS.items():
    ip = IPv6(src=CLIENT6, dst="2001:db8:0:1::2") / header / UDP(sport=4, dport=5, chksum=0x1234) / DATA
    forwards(f"extension header: {name}", ip, "gue6", "forwarded_gue")
six = IPv6(src=CLIENT6, dst="2001:db8:0:1::2")
for _ in range(6):
    six = six / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
forwards("six extension headers", six / UDP(sport=4, dport=5, chksum=0x1234), "gue6", "forwarded_gue")
seven = IPv6(bytes(six)) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
seven = six / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / UDP(sport=4, dport=5)

# --- ingress: hop lists -------------------------------------------------------------------------

LISTED, LISTED6 = POOLS["listed"]["hops"], POOLS["listed6"]["hops"]


def udp4(dst, dport):
    return IP(src=CLIENT, dst=dst) / UDP(sport=777, dport=dport) / DATA


forwards("three hops", tcp4("203.0.113.20", 80), "listed", "forwarded_gue", hops=LISTED)
forwards("seven hops over v6", tcp4("203.0.113.21", 80), "listed6", "forwarded_gue", hops=LISTED6)
forwards("no second chance, no hops", tcp4("203.0.113.25", 80), "listed", "forwarded_gue")
forwards("udp comes back to the owner", udp4("203.0.113.20", 80), "listed", "forwarded_gue", hops=LISTED + [BACKEND])
forwards("udp with a full list comes back to the owner", udp4("203.0.113.21", 80), "listed6", "forwarded_gue", hops=LISTED6[:-1] + [BACKEND6])
for n in range(4):
    room = IP(src=CLIENT, dst="203.0.113.26") / TCP(sport=1, dport=80) / Raw(b"m" * (600 - 36 - 40 - 4 * n))
    forwards(f"room for {n} hops of three", room, "narrow-listed", "forwarded_gue", hops=LISTED[:n])
for n in (0, 3, 6, 7):
    room = IP(src=CLIENT, dst="203.0.113.27") / TCP(sport=1, dport=80) / Raw(b"m" * (700 - 56 - 40 - 16 * n - (n % 2)))
    forwards(f"room for {n} hops of seven over v6", room, "narrow-listed6", "forwarded_gue", hops=LISTED6[:n])
drops("not even room without hops", client(IP(src=CLIENT, dst="203.0.113.26") / TCP(sport=1, dport=80)
                                           / Raw(b"m" * (600 - 36 - 40 + 1))), "too_big_no_df")
for n, hops in ((4, LISTED + [BACKEND]), (3, []), (0, [])):
    room = IP(src=CLIENT, dst="203.0.113.26") / UDP(sport=777, dport=80) / Raw(b"m" * (600 - 36 - 28 - 4 * n))
    forwards(f"udp, room for {n} hops of four", room, "narrow-listed", "forwarded_gue", hops=hops)
forwards("ipip carries no hops", tcp4("203.0.113.22", 80), "listed-ipip", "forwarded_ipip")
forwards("all are leaving: a flow that lives", tcp4("203.0.113.23", 80), "leaving", "forwarded_gue", address="10.0.0.12",
         hops=["10.0.0.13"])
drops("all are leaving: a new flow", client(IP(src=CLIENT, dst="203.0.113.23") / TCP(dport=80, flags="S")), "empty_table")
forwards("all are leaving: udp", udp4("203.0.113.23", 80), "leaving", "forwarded_gue", address="10.0.0.12",
         hops=["10.0.0.13", "10.0.0.12"])
drops("all are leaving: no second chance", client(tcp4("203.0.113.25", 81)), "empty_table")
forwards("the seed is being changed", tcp4("203.0.113.24", 80), "reseeded", "forwarded_gue",
         hops=["10.0.0.19", "10.0.0.12"], mode="seed-change")
forwards("the seed is not being changed", tcp4("203.0.113.24", 80), "reseeded", "forwarded_gue", hops=["10.0.0.12"])

# --- ingress: hashes of parts -------------------------------------------------------------------

for sport, dport in ((777, 53), (778, 53), (777, 54)):
    ports = f"from {sport} to {dport}"
    forwards(f"by source, {ports}", IP(src=CLIENT, dst="203.0.113.30") / UDP(sport=sport, dport=dport) / DATA, "gue4",
             "forwarded_gue")
    forwards(f"by source, v6, {ports}", IPv6(src=CLIENT6, dst="2001:db8:0:1::30") / UDP(sport=sport, dport=dport) / DATA,
             "gue6", "forwarded_gue")
    forwards(f"by destination port, {ports}", IP(src=CLIENT, dst="203.0.113.32") / UDP(sport=sport, dport=dport) / DATA,
             "gue4", "forwarded_gue")
    forwards(f"by destination port, v6, {ports}", IPv6(src=CLIENT6, dst="2001:db8:0:1::32")
             / TCP(sport=sport, dport=dport, flags="A") / DATA, "gue6", "forwarded_gue")
for sport in (777, 778):
    forwards(f"by source and port, from {sport}", IP(src=CLIENT, dst="203.0.113.31") / TCP(sport=sport, dport=80) / DATA,
             "gue4", "forwarded_gue")
    forwards(f"by source and port, v6, from {sport}", IPv6(src=CLIENT6, dst="2001:db8:0:1::31")
             / TCP(sport=sport, dport=80) / DATA, "gue4", "forwarded_gue")
forwards("by source, from another client", IP(src="192.0.2.8", dst="203.0.113.30") / UDP(sport=777, dport=53) / DATA, "gue4",
         "forwarded_gue")
for proto in (47, 50, 132):
    forwards(f"by source, protocol {proto}", IP(src=CLIENT, dst="203.0.113.33", proto=proto) / DATA, "gue4", "forwarded_gue")
# Nothing came before: such fragments need no memory.
for flags, frag, name in (("MF", 0, "first"), ("MF", 9, "middle"), (0, 18, "last")):
    for dst, over in (("203.0.113.30", "udp"), ("203.0.113.33", "any protocol")):
        datagram = IP(src=CLIENT, dst=dst, proto=17, id=5, flags=flags, frag=frag)
        part = datagram / (UDP(sport=777, dport=53, len=160, chksum=0x1234) / Raw(b"x" * 64) if frag == 0 else Raw(b"y" * 72))
        forwards(f"by source, the {name} fragment alone, {over}", part, "gue4", "forwarded_gue")
    header = IPv6ExtHdrFragment(offset=frag, m=int(flags == "MF"), id=7, nh=17)
    part = UDP(sport=777, dport=53, len=160, chksum=0x1234) / Raw(b"x" * 64) if frag == 0 else Raw(b"y" * 72)
    forwards(f"by source, the {name} fragment alone, v6", IPv6(src=CLIENT6, dst="2001:db8:0:1::30") / header / part, "gue6",
             "forwarded_gue")
drops("by source, the first fragment ends inside the udp header",
      client(IP(src=CLIENT, dst="203.0.113.30", proto=17, flags="MF") / Raw(b"1234567")), "truncated_transport")
drops("by destination port, a later fragment alone",
      client(IP(src=CLIENT, dst="203.0.113.32", proto=17, id=5, frag=9) / Raw(b"12345678")), "fragment")

# --- ingress: questions for the name of the node ---------------------------------------------------


def asks(name, dst="203.0.113.50", qtype="TXT", qclass="CH", sport=40000, **dns):
    ip = IPv6(src=CLIENT6, dst=dst) if ":" in dst else IP(src=CLIENT, dst=dst)
    return ip / UDP(sport=sport, dport=53) / DNS(id=7, rd=1, qd=DNSQR(qname=name, qtype=qtype, qclass=qclass), **dns)


NSID = {"ar": [DNSRROPT(rclass=1232, rdata=[EDNS0TLV(optcode=3)])]}
for name in ("id.server.", "hostname.bind.", "ID.Server.", "HOSTNAME.BIND."):
    drops(f"asks for {name}", client(asks(name)), "identity")
    drops(f"asks for {name} with nsid", client(asks(name, **NSID)), "identity")
    drops(f"asks for {name} over v6", client(asks(name, "2001:db8:0:1::50", **NSID)), "identity")
drops("asks for id.server. in a vlan", client(Dot1Q(vlan=7) / asks("id.server."), type=0x8100), "identity")
for name in ("id.server.", "hostname.bind."):
    vector(f"asks for {name} too often", "ingress", client(asks(name)), "identity_limited", mode="no-hops")
    vector(f"asks for {name} too often, v6", "ingress", client(asks(name, "2001:db8:0:1::50")), "identity_limited", mode="no-hops")
    forwards(f"asks another VIP for {name}", asks(name, "203.0.113.1"), "gue4", "forwarded_gue")
    forwards(f"asks for {name} in class IN", asks(name, qclass="IN"), "gue4", "forwarded_gue")
    forwards(f"asks for the address of {name}", asks(name, qtype="A"), "gue4", "forwarded_gue")
    forwards(f"asks for {name} in a long message", asks(name, ar=[DNSRROPT(rdata=[EDNS0TLV(optcode=12, optdata=b"p" * 200)])]),
             "gue4", "forwarded_gue")
    forwards(f"is told {name}", asks(name, qr=1), "gue4", "forwarded_gue")
    forwards(f"notifies of {name}", asks(name, opcode=4), "gue4", "forwarded_gue")
for name in ("version.bind.", "version.server.", "authors.bind.", "id.server.example.", "server.", "."):
    forwards(f"asks for {name}", asks(name), "gue4", "forwarded_gue")
forwards("asks two things", asks("id.server.", qdcount=2), "gue4", "forwarded_gue")
forwards("asks nothing", IP(src=CLIENT, dst="203.0.113.50") / UDP(sport=1, dport=53) / DNS(id=7, qdcount=0, qd=None), "gue4", "forwarded_gue")
forwards("asks over v6 for the address of id.server.", asks("id.server.", "2001:db8:0:1::50", "AAAA"), "gue6", "forwarded_gue")
ASKED = bytes(asks("id.server."))
for cut in (1, 4, 5, 15, 27):
    short = IP(ASKED[:len(ASKED) - cut])
    short.len, short[UDP].len = len(ASKED) - cut, len(ASKED) - cut - 20
    del short.chksum
    forwards(f"asks for id.server., {cut} bytes short", IP(bytes(short)), "gue4", "forwarded_gue")
forwards("asks by tcp", IP(src=CLIENT, dst="203.0.113.50") / TCP(sport=1, dport=53, flags="PA") / Raw(b"\0\x1b" + ASKED[28:]),
         "gue4", "forwarded_gue")

# --- ingress: quic by connection id ---------------------------------------------------------------


def cid(config, server, nonce=b"\x11\x22\x33\x44", rest=None):
    """A connection ID as a QUIC-LB server makes it; the first octet tells the length, or is random."""
    body = bytes.fromhex(server) + nonce
    return bytes([config << 5 | (len(body) if rest is None else rest)]) + body


def quic_long(first, version, dcid, scid=b"client"):
    return bytes([first]) + struct.pack(">IB", version, len(dcid)) + dcid + bytes([len(scid)]) + scid + b"\0" * 40


def quic_short(dcid, first=0x41):
    return bytes([first]) + dcid + b"\x55" * 24


def quic(payload, dst="203.0.113.60", src=CLIENT, sport=777, **ip):
    ip = IPv6(src=CLIENT6, dst=dst, **ip) if ":" in dst else IP(src=src, dst=dst, **ip)
    return ip / UDP(sport=sport, dport=443) / Raw(payload)


V1, V2, GREASED = 1, 0x6B3343CF, 0x1A2A3A4A
OWNER, LISTED_ONE, OTHER = cid(2, "000b"), cid(2, "000c"), cid(2, "004d")
for sport in (777, 778):
    for server, address in (("000b", BACKEND), ("000c", "10.0.0.12"), ("004d", "10.0.0.77")):
        forwards(f"quic: short header to {address}, from {sport}", quic(quic_short(cid(2, server)), sport=sport), "quic",
                 "forwarded_quic", address=address)
forwards("quic: from another address", quic(quic_short(OTHER), src="198.51.100.200"), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: random low bits, a long nonce", quic(quic_short(cid(2, "004d", b"n" * 17, 0))), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: no fixed bit", quic(quic_short(OTHER, 0x01)), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: the shortest that is looked at", quic(quic_short(OTHER)[:13]), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: one byte less", quic(quic_short(OTHER)[:12]), "quic", "forwarded_gue")
for name, id in (("unknown server", cid(2, "4d00")), ("another configuration", cid(1, "004d")),
                 ("no configuration", cid(7, "004d")), ("a client's whole address", bytes(4) + bytes([10, 0, 0, 77])),
                 ("ones", b"\xff" * 9), ("zeros", bytes(9))):
    forwards(f"quic: short header, {name}", quic(quic_short(id)), "quic", "forwarded_gue")
    forwards(f"quic: handshake, {name}", quic(quic_long(0xE0, V1, id)), "quic", "forwarded_gue")
    forwards(f"quic: initial, {name}", quic(quic_long(0xC0, V1, id)), "quic", "forwarded_gue")
for version, name, initial, early, handshake in ((V1, "v1", 0xC0, 0xD0, 0xE0), (V2, "v2", 0xD0, 0xE0, 0xF0)):
    forwards(f"quic: {name} handshake", quic(quic_long(handshake, version, OTHER)), "quic", "forwarded_quic", address="10.0.0.77")
    for first, kind in ((initial, "initial"), (early, "0-rtt")):
        packet = lambda id: quic(quic_long(first, version, id))
        forwards(f"quic: {name} {kind} that names the owner", packet(OWNER), "quic", "forwarded_quic")
        forwards(f"quic: {name} {kind} that names one who may hold it", packet(LISTED_ONE), "quic", "forwarded_quic",
                 address="10.0.0.12")
        forwards(f"quic: {name} {kind} that aims elsewhere", packet(OTHER), "quic", "forwarded_gue")
for first in (0x80, 0xC0, 0xE0, 0xF0):
    forwards(f"quic: unknown version, type {first:x}, aims elsewhere", quic(quic_long(first, GREASED, OTHER)), "quic",
             "forwarded_gue")
    forwards(f"quic: unknown version, type {first:x}, names one who may hold it", quic(quic_long(first, GREASED, LISTED_ONE)),
             "quic", "forwarded_quic", address="10.0.0.12")
forwards("quic: version negotiation from a client", quic(quic_long(0x80, 0, OTHER)), "quic", "forwarded_gue")
for length in (0, 1, 6):
    forwards(f"quic: handshake with {length} octets of an id", quic(quic_long(0xE0, V1, OTHER[:length])), "quic", "forwarded_gue")
forwards("quic: 255 octets of an id", quic(quic_long(0xE0, V1, OTHER + bytes(248))), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: the id's length, and then nothing", quic(quic_long(0xE0, V1, OTHER)[:12]), "quic", "forwarded_gue")
forwards("quic: no payload", quic(b""), "quic", "forwarded_gue")
forwards("quic: ip options", quic(quic_short(OTHER), options=[IPOption(b"\x94\x04\0\0")]), "quic", "forwarded_quic",
         address="10.0.0.77")
forwards("quic: fragments do not name", IP(src=CLIENT, dst="203.0.113.60", flags="MF", id=6)
         / UDP(sport=777, dport=443, len=200, chksum=0x1234) / Raw(quic_short(OTHER).ljust(64)), "quic", "forwarded_gue",
         first=quic(b""))
forwards("quic: the id looks on over the end of the packet", quic(quic_short(OTHER)[:7]), "quic", "forwarded_gue",
         frame=bytes(client(IP(bytes(quic(quic_short(OTHER)[:7]))))) + OTHER * 3)
forwards("quic over v6", quic(quic_short(cid(0, "0a0b0c0d0e0f")), "2001:db8:0:1::60"), "quic6", "forwarded_quic", address="fd00::27")
forwards("quic over v6, not listed", quic(quic_short(cid(0, "ffffffffffff")), "2001:db8:0:1::60"), "quic6", "forwarded_quic",
         address="fd00::77")
forwards("quic over v6: initial of the last who may hold it", quic(quic_long(0xC0, V1, cid(0, "0a0b0c0d0e0f")), "2001:db8:0:1::60"),
         "quic6", "forwarded_quic", address="fd00::27")
forwards("quic over v6: initial that aims elsewhere", quic(quic_long(0xC0, V1, cid(0, "ffffffffffff")), "2001:db8:0:1::60"), "quic6",
         "forwarded_gue")
forwards("quic over ipip, without a table", quic(quic_short(cid(6, "4d")), "203.0.113.61"), "quic-ipip", "forwarded_quic",
         address="10.0.0.77")
forwards("quic over l2, with nobody for new flows", quic(quic_short(cid(1, "4d")), "203.0.113.62"), "quic-l2", "forwarded_quic")
drops("quic over l2: a new flow", client(quic(quic_long(0xC0, V1, cid(1, "4d")), "203.0.113.62")), "empty_table")
forwards("quic: all are leaving, a handshake goes on", quic(quic_long(0xC0, V1, LISTED_ONE), "203.0.113.63"), "quic-leaving",
         "forwarded_quic", address="10.0.0.12")
drops("quic: all are leaving, a new flow", client(quic(quic_long(0xC0, V1, b"randomly"), "203.0.113.63")), "empty_table")
forwards("quic: by source where no id names", quic(quic_long(0xC0, V1, b"randomly"), "203.0.113.64"), "quic", "forwarded_gue")
forwards("quic: by id where hashed by source", quic(quic_short(OTHER), "203.0.113.64"), "quic", "forwarded_quic", address="10.0.0.77")
forwards("quic: the seed is being changed", quic(quic_long(0xC0, V1, cid(2, "0013"))), "quic", "forwarded_quic",
         address="10.0.0.19", mode="seed-change")
forwards("quic: the seed is not being changed", quic(quic_long(0xC0, V1, cid(2, "0013"))), "quic", "forwarded_gue")

# --- ingress: what is not -----------------------------------------------------------------------

drops("arp", client(ARP(pdst="10.0.0.2")), "not_ip")
drops("three vlan tags", client(Dot1AD(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / tcp4("203.0.113.1", 80)), "not_ip")
drops("somebody else's address", client(tcp4("198.51.100.1", 80)), "not_vip")
drops("somebody else's v6 address", client(tcp6("2001:db8:0:2::1", 80)), "not_vip")
drops("somebody else's damaged packet", client(IP(src=CLIENT, dst="198.51.100.1", ihl=3, len=9)), "not_vip")
drops("neighbour solicitation", client(IPv6(src=CLIENT6, dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt="fd00::1")), "not_vip")
drops("no service on the port", client(tcp4("203.0.113.1", 22)), "unmatched_service")
drops("no service for the protocol", client(IP(src=CLIENT, dst="203.0.113.1") / GRE()), "unmatched_service")
drops("udp where only tcp is", client(IP(src=CLIENT, dst="203.0.113.4") / UDP(sport=1, dport=80)), "unmatched_service")
drops("an address of the prefix that is no vip", client(tcp4("203.0.113.200", 80)), "unmatched_prefix")
drops("an address of the v6 prefix that is no vip", client(tcp6("2001:db8:0:1::ffff", 80)), "unmatched_prefix")
drops("seven extension headers", client(seven), "extension_headers")
whole = bytes(client(tcp4("203.0.113.1", 80)))
whole6 = bytes(client(tcp6("2001:db8:0:1::1", 80)))
drops("cut inside the vlan tag", whole[:12] + b"\x81\x00\x00", "truncated_link")
drops("cut inside the ip header", whole[:14 + 19], "malformed_ipv4")
drops("cut inside the v6 header", whole6[:14 + 39], "malformed_ipv6")
drops("version 5", whole[:14] + b"\x55" + whole[15:], "malformed_ipv4")
drops("header length 4", whole[:14] + b"\x44" + whole[15:], "malformed_ipv4")
drops("total length shorter than the header", whole[:16] + b"\x00\x13" + whole[18:], "malformed_ipv4")
drops("v6 frame with version 4", whole6[:14] + b"\x40" + whole6[15:], "malformed_ipv6")
drops("one byte missing", whole[:-1], "length_beyond_frame")
drops("one byte missing, v6", whole6[:-1], "length_beyond_frame")
drops("total length 65535", whole[:16] + b"\xff\xff" + whole[18:], "length_beyond_frame")
cut = IP(src=CLIENT, dst="203.0.113.1", proto=6, len=20 + 19) / Raw(bytes(TCP(dport=80))[:19])
drops("cut inside the tcp header", client(cut), "truncated_transport")
drops("cut inside the tcp header, padding behind", bytes(client(cut)).ljust(80, b"\0"), "truncated_transport")
drops("cut inside the udp header",
      client(IP(src=CLIENT, dst="203.0.113.1", proto=17) / Raw(bytes(UDP(dport=53))[:7])), "truncated_transport")
drops("options reach the end of the packet",
      client(IP(src=CLIENT, dst="203.0.113.1", proto=6, ihl=15, len=60) / Raw(b"\x01" * 40)), "truncated_transport")
FIRST = IP(bytes(tcp4("203.0.113.1", 80, flags="MF")))
FIRST6 = IPv6(bytes(IPv6(src=CLIENT6, dst="2001:db8:0:1::2") / IPv6ExtHdrFragment(offset=0, m=1, id=7)
                    / UDP(sport=4, dport=5) / DATA))
FIRST_LISTED = IP(bytes(tcp4("203.0.113.20", 80, flags="MF")))
FIRST_RESEEDED = IP(bytes(tcp4("203.0.113.24", 80, flags="MF")))
forwards("first fragment", FIRST, "gue4", "forwarded_gue", first=FIRST)
forwards("first fragment, v6", FIRST6, "gue6", "forwarded_gue", first=FIRST6)
forwards("a fragment has no list", FIRST_LISTED, "listed", "forwarded_gue", first=FIRST_LISTED)
forwards("first fragment while the seed is being changed", FIRST_RESEEDED, "reseeded", "forwarded_gue",
         first=FIRST_RESEEDED, mode="seed-change")
for more, name in (("MF", "a middle fragment"), (0, "the last fragment")):
    forwards(f"{name} follows the first", IP(src=CLIENT, dst="203.0.113.1", proto=6, id=0x1234, flags=more, frag=9)
             / Raw(b"abcdefgh"), "gue4", "forwarded_gue", first=FIRST, before=[bytes(client(FIRST)).hex()])
    forwards(f"{name} follows the first, v6", IPv6(src=CLIENT6, dst="2001:db8:0:1::2")
             / IPv6ExtHdrFragment(offset=9, m=1 if more else 0, id=7, nh=17) / Raw(b"abcdefgh"), "gue6", "forwarded_gue",
             first=FIRST6, before=[bytes(client(FIRST6)).hex()])
forwards("a later fragment of a protocol without ports",
         IP(src=CLIENT, dst="203.0.113.3", proto=50, id=9, frag=30) / Raw(b"abcdefgh"), "ipip6", "forwarded_ipip")
drops("a fragment for a pool whose backends all leave", client(tcp4("203.0.113.23", 80, flags="MF")), "empty_table")
drops("first fragment that ends inside the tcp header",
      client(IP(src=CLIENT, dst="203.0.113.1", proto=6, flags="MF") / Raw(bytes(TCP(dport=80))[:16])), "truncated_transport")
drops("later fragment of an unknown datagram",
      client(IP(src=CLIENT, dst="203.0.113.1", proto=6, id=0x4321, frag=100) / Raw(b"abcdefgh")), "fragment")
drops("later fragment of an unknown datagram, v6", client(IPv6(src=CLIENT6, dst="2001:db8:0:1::2")
      / IPv6ExtHdrFragment(offset=100, m=0, id=8, nh=17) / Raw(b"abcdefgh")), "fragment")
drops("a fragment of an echo request", client(IP(src=CLIENT, dst="203.0.113.1", flags="MF") / ICMP() / DATA), "fragment")
drops("a later fragment of an echo request, v6", client(IPv6(src=CLIENT6, dst="2001:db8:0:1::2")
      / IPv6ExtHdrFragment(offset=100, m=0, id=8, nh=58) / Raw(b"abcdefgh")), "fragment")
drops("extension header reaches beyond the packet",
      client(IPv6(src=CLIENT6, dst="2001:db8:0:1::2", nh=60, plen=8) / Raw(b"\x11\x09" + b"\0" * 6)), "extension_headers")
drops("extension header cut short",
      client(IPv6(src=CLIENT6, dst="2001:db8:0:1::2", nh=60, plen=0)), "extension_headers")
drops("no table", client(tcp4("203.0.113.6", 81)), "empty_table")
drops("empty slots", client(tcp4("203.0.113.6", 80)), "empty_table")
drops("table outside the arena", client(tcp4("203.0.113.6", 82)), "bad_table")
drops("no neighbour", client(tcp4("203.0.113.7", 80)), "no_neighbour")
fits = IP(src=CLIENT, dst="203.0.113.8") / TCP(sport=1, dport=80) / Raw(b"m" * (600 - 36 - 40))
forwards("fits exactly", fits, "narrow", "forwarded_gue")

vector("unmatched port, passed", "ingress", client(tcp4("203.0.113.1", 22)), "unmatched_pass", mode="unmatched-pass")
vector("unmatched address, passed", "ingress", client(tcp6("2001:db8:0:1::ffff", 80)), "unmatched_pass", mode="unmatched-pass")
# 256 bytes of headroom, 40 of them the kernel's, 200 of metadata: 16 left, and GUE wants 36 more.
vector("no room in front", "ingress", client(tcp4("203.0.113.1", 80)), "no_headroom", metadata=200)
forwards("just room enough", tcp4("203.0.113.1", 80), "gue4", "forwarded_gue")
vectors[-1]["metadata"] = 180

# --- ingress: echo ------------------------------------------------------------------------------


def echo(name, request, reply, **ether):
    frame = Ether(src=CLIENT_MAC, dst=NODE_MAC) / request
    vector(name, "ingress", frame, "echo_reply", Ether(src=NODE_MAC, dst=CLIENT_MAC) / reply)


for name, fields, payload in (
    ("echo", {"id": 7, "seq": 1}, b"payload"),
    ("echo, all zero", {"id": 0, "seq": 0}, b""),
    ("echo, carry", {"id": 0xF7FF, "seq": 0}, b""),
    ("echo, 8900 bytes", {"id": 7, "seq": 0x1234}, b"begin" + b"z" * 8890 + b"end!!"),
    ("echo, 1400 bytes", {"id": 1, "seq": 0xFFFF}, b"z" * 1400),
):
    echo(name, IP(src=CLIENT, dst="203.0.113.1", id=5, ttl=9) / ICMP(type=8, **fields) / Raw(payload),
         IP(src="203.0.113.1", dst=CLIENT, id=5, ttl=64)
         / (ICMP(type=0, chksum=0xFFFF, **fields) if name == "echo, all zero" else ICMP(type=0, **fields)) / Raw(payload))
    echo(name + ", v6", IPv6(src=CLIENT6, dst="2001:db8:0:1::1", hlim=9) / ICMPv6EchoRequest(data=payload, **fields),
         IPv6(src="2001:db8:0:1::1", dst=CLIENT6, hlim=64) / ICMPv6EchoReply(data=payload, **fields))
echo("echo from behind a translator", IPv6(src="64:ff9b::192.0.2.7", dst="2001:db8:0:1::1", hlim=9) / ICMPv6EchoRequest(),
     IPv6(src="2001:db8:0:1::1", dst="64:ff9b::192.0.2.7", hlim=64) / ICMPv6EchoReply())
request = IP(src=CLIENT, dst="203.0.113.1", options=[IPOption(b"\x94\x04\x00\x00")]) / ICMP(type=8, id=1, seq=2)
echo("echo with ip options", request,
     IP(src="203.0.113.1", dst=CLIENT, options=[IPOption(b"\x94\x04\x00\x00")]) / ICMP(type=0, id=1, seq=2))
for source in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "203.0.113.1"):
    drops(f"echo from {source}", client(IP(src=source, dst="203.0.113.1") / ICMP(type=8)), "echo_source")
for source in ("::", "::1", "::ffff:192.0.2.1", "ff02::1", "2001:db8:0:1::1"):
    drops(f"echo from {source}", client(IPv6(src=source, dst="2001:db8:0:1::1") / ICMPv6EchoRequest()), "echo_source")
drops("echo sent to a group of stations",
      Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / IP(src=CLIENT, dst="203.0.113.1") / ICMP(type=8), "echo_source")
drops("echo to an address that is no vip", client(IP(src=CLIENT, dst="203.0.113.99") / ICMP(type=8)), "unmatched_prefix")
drops("echo to somebody else", client(IP(src=CLIENT, dst="10.0.0.2") / ICMP(type=8)), "not_vip")
drops("echo reply to a vip", client(IP(src=CLIENT, dst="203.0.113.1") / ICMP(type=0)), "icmp_unsupported")
drops("icmp cut short", client(IP(src=CLIENT, dst="203.0.113.1", proto=1) / Raw(b"\x08\0\0\0\0\0\0")), "truncated_transport")

# --- ingress: icmp errors -----------------------------------------------------------------------

ROUTER, ROUTER6 = "198.51.100.9", "2001:db8:9::1"


def back(packet):
    """The backend's packet of the flow that the client's `packet` is of."""
    layer = TCP if TCP in packet else UDP if UDP in packet else None
    ip = packet.__class__(src=packet.dst, dst=packet.src)
    if layer is None:
        return ip.__class__(bytes(ip / SCTP(sport=2, dport=1) / Raw(b"r" * 100)))
    fields = {"sport": packet[layer].dport, "dport": packet[layer].sport}
    return ip.__class__(bytes(ip / layer(**fields) / Raw(b"r" * 100)))


def error4(quote, vip, **icmp):
    return IP(bytes(IP(src=ROUTER, dst=vip, tos=0xC0) / ICMP(**icmp) / Raw(quote)))


def error6(quote, vip, icmp):
    return IPv6(bytes(IPv6(src=ROUTER6, dst=vip) / icmp / Raw(quote)))


FLOW4, FLOW6 = tcp4("203.0.113.20", 80), tcp6("2001:db8:0:1::20", 80)
QUOTE4, QUOTE6 = bytes(back(FLOW4)), bytes(back(FLOW6))
LISTED_V6 = {"hops": LISTED6, "about": FLOW6}
for name, icmp in {
    "port unreachable": {"type": 3, "code": 3}, "fragmentation needed": {"type": 3, "code": 4, "nexthopmtu": 1400},
    "time exceeded": {"type": 11, "code": 0}, "parameter problem": {"type": 12, "code": 0, "ptr": 9},
}.items():
    forwards(f"{name}, eight bytes quoted", error4(QUOTE4[:28], "203.0.113.20", **icmp), "listed", "forwarded_gue",
             hops=LISTED, about=FLOW4)
    forwards(f"{name}, all quoted", error4(QUOTE4, "203.0.113.20", **icmp), "listed", "forwarded_gue", hops=LISTED,
             about=FLOW4)
for name, icmp in {
    "destination unreachable": ICMPv6DestUnreach(code=4), "packet too big": ICMPv6PacketTooBig(mtu=1300),
    "time exceeded": ICMPv6TimeExceeded(code=0), "parameter problem": ICMPv6ParamProblem(ptr=6),
}.items():
    forwards(f"{name}, eight bytes quoted, v6", error6(QUOTE6[:48], "2001:db8:0:1::20", icmp), "listed6", "forwarded_gue",
             **LISTED_V6)
    forwards(f"{name}, all quoted, v6", error6(QUOTE6, "2001:db8:0:1::20", icmp), "listed6", "forwarded_gue", **LISTED_V6)
TOO_BIG = {"type": 3, "code": 4, "nexthopmtu": 1400}
about = udp4("203.0.113.20", 80)
forwards("an error about udp comes back to the owner", error4(bytes(back(about))[:28], "203.0.113.20", **TOO_BIG), "listed",
         "forwarded_gue", hops=LISTED + [BACKEND], about=about)
about = tcp4("203.0.113.23", 80)
forwards("all are leaving: an error about a flow that lives", error4(bytes(back(about))[:28], "203.0.113.23", **TOO_BIG),
         "leaving", "forwarded_gue", address="10.0.0.12", hops=["10.0.0.13"], about=about)
about = tcp4("203.0.113.24", 80)
forwards("an error while the seed is being changed", error4(bytes(back(about))[:28], "203.0.113.24", **TOO_BIG), "reseeded",
         "forwarded_gue", hops=["10.0.0.19", "10.0.0.12"], mode="seed-change", about=about)
about = IP(src=CLIENT, dst="203.0.113.3") / SCTP(sport=1, dport=2)
forwards("an error about a protocol without ports", error4(bytes(back(about))[:28], "203.0.113.3", **TOO_BIG), "ipip6",
         "forwarded_ipip", about=about)
quote = bytes(IP(src="203.0.113.20", dst=CLIENT, options=[IPOption(b"\x01" * 40)]) / TCP(sport=80, dport=51234))
forwards("an error that quotes ip options", error4(quote[:68], "203.0.113.20", **TOO_BIG), "listed", "forwarded_gue",
         hops=LISTED, about=FLOW4)
forwards("an error that quotes a first fragment", error4(bytes(IP(src="203.0.113.20", dst=CLIENT, flags="MF")
         / TCP(sport=80, dport=51234))[:28], "203.0.113.20", **TOO_BIG), "listed", "forwarded_gue", hops=LISTED, about=FLOW4)
error = error4(QUOTE4[:28], "203.0.113.20", **TOO_BIG)
forwards("an error with ip options of its own", IP(bytes(IP(src=ROUTER, dst="203.0.113.20",
         options=[IPOption(b"\x94\x04\0\0")]) / ICMP(**TOO_BIG) / Raw(QUOTE4[:28]))), "listed", "forwarded_gue",
         hops=LISTED, about=FLOW4)
forwards("an error in two vlan tags, padding behind", error, "listed", "forwarded_gue", hops=LISTED, about=FLOW4,
         frame=bytes(client(Dot1AD(vlan=7) / Dot1Q(vlan=100) / error)) + b"\0" * 9)
quote = bytes(IPv6(src="2001:db8:0:1::20", dst=CLIENT6) / IPv6ExtHdrFragment(offset=0, m=1, id=7)
              / TCP(sport=80, dport=51234))
too_big6 = ICMPv6PacketTooBig(mtu=1300)
forwards("an error that quotes a first fragment, v6", error6(quote[:56], "2001:db8:0:1::20", too_big6), "listed6",
         "forwarded_gue", **LISTED_V6)
drops("an error that quotes half a fragment header", client(error6(quote[:44], "2001:db8:0:1::20", too_big6)),
      "icmp_error_quote")
later = bytes(IPv6(src="2001:db8:0:1::20", dst=CLIENT6) / IPv6ExtHdrFragment(offset=9, id=7, nh=6) / Raw(b"abcdefgh"))
drops("an error that quotes a later fragment, v6", client(error6(later, "2001:db8:0:1::20", too_big6)), "icmp_error_quote")
for port in (53, 54):
    about = IP(src=CLIENT, dst="203.0.113.30") / UDP(sport=777, dport=port)
    forwards(f"an error about a flow hashed by source, {port}", error4(bytes(back(about))[:28], "203.0.113.30", **TOO_BIG),
             "gue4", "forwarded_gue", about=about)
about = IPv6(src=CLIENT6, dst="2001:db8:0:1::31") / TCP(sport=777, dport=80)
forwards("an error about a flow hashed by source and port, v6", error6(bytes(back(about))[:48], "2001:db8:0:1::31", too_big6),
         "gue4", "forwarded_gue", about=about)
about = IP(src=CLIENT, dst="203.0.113.26") / UDP(sport=777, dport=80)
for n, hops in ((4, LISTED + [BACKEND]), (3, [])):
    forwards(f"an error about udp, room for {n} hops of four", error4(bytes(back(about))[:28] + b"q" * (600 - 36 - 56 - 4 * n),
             "203.0.113.26", **TOO_BIG), "narrow-listed", "forwarded_gue", hops=hops, about=about)
about = IP(src=CLIENT, dst="203.0.113.26") / TCP(sport=777, dport=80)
forwards("an error about tcp, room for 2 hops of three", error4(bytes(back(about))[:28] + b"q" * (600 - 36 - 56 - 4 * 2),
         "203.0.113.26", **TOO_BIG), "narrow-listed", "forwarded_gue", hops=LISTED[:2], about=about)
for length in (0, 1, 19, 20, 27):
    drops(f"an error that quotes {length} bytes", client(error4(QUOTE4[:length], "203.0.113.20", **TOO_BIG)),
          "icmp_error_quote")
    drops(f"an error that quotes {length} bytes, padding behind",
          bytes(client(error4(QUOTE4[:length], "203.0.113.20", **TOO_BIG))) + QUOTE4[length:], "icmp_error_quote")
for length in (0, 39, 40, 47):
    drops(f"an error that quotes {length} bytes, v6", client(error6(QUOTE6[:length], "2001:db8:0:1::20", too_big6)),
          "icmp_error_quote")
drops("an error about a packet that was sent to the vip", client(error4(bytes(FLOW4)[:28], "203.0.113.20", **TOO_BIG)),
      "icmp_error_quote")
drops("an error about another vip's packet", client(error4(QUOTE4[:28], "203.0.113.1", **TOO_BIG)), "icmp_error_quote")
drops("an error about another vip's packet, v6", client(error6(QUOTE6[:48], "2001:db8:0:1::1", too_big6)),
      "icmp_error_quote")
drops("an error that quotes a later fragment", client(error4(bytes(IP(src="203.0.113.20", dst=CLIENT, proto=6, frag=9)
      / Raw(b"abcdefgh")), "203.0.113.20", **TOO_BIG)), "icmp_error_quote")
drops("an error that quotes version 6", client(error4(b"\x65" + QUOTE4[1:], "203.0.113.20", **TOO_BIG)), "icmp_error_quote")
drops("an error that quotes version 4, v6", client(error6(b"\x40" + QUOTE6[1:], "2001:db8:0:1::20", too_big6)),
      "icmp_error_quote")
drops("an error about no service's packet", client(error4(bytes(back(tcp4("203.0.113.20", 81)))[:28], "203.0.113.20",
      **TOO_BIG)), "icmp_error_service")
drops("an error about no service's packet, v6", client(error6(bytes(back(tcp6("2001:db8:0:1::20", 81))),
      "2001:db8:0:1::20", too_big6)), "icmp_error_service")
drops("an error about our echo reply", client(error4(bytes(IP(src="203.0.113.20", dst=CLIENT) / ICMP(type=0)),
      "203.0.113.20", type=3, code=1)), "icmp_error_service")
vector("an error about no service's packet, passed", "ingress", client(error4(bytes(back(tcp4("203.0.113.20", 81))),
       "203.0.113.20", **TOO_BIG)), "unmatched_pass", mode="unmatched-pass")
drops("a fragment of an error", client(IP(src=ROUTER, dst="203.0.113.20", flags="MF") / ICMP(**TOO_BIG) / Raw(QUOTE4)),
      "fragment")
drops("source quench", client(error4(QUOTE4[:28], "203.0.113.20", type=4)), "icmp_unsupported")
drops("an unknown error, v6", client(IPv6(src=ROUTER6, dst="2001:db8:0:1::20", nh=58)
      / Raw(b"\x05\0\0\0\0\0\0\0" + QUOTE6[:48])), "icmp_unsupported")

# --- ingress: what does not fit -----------------------------------------------------------------


def answered(name, ip, mtu, frame=None, ether=None, **variant):
    """The sender is told that `mtu` bytes fit."""
    ip = ip.__class__(bytes(ip))
    if ip.version == 4:
        answer = IP(src=ip.dst, dst=ip.src, tos=0xC0, id=0, flags="DF", ttl=64) / ICMP(type=3, code=4, nexthopmtu=mtu)
        answer = answer / Raw(bytes(ip)[:544])
    else:
        answer = IPv6(src=ip.dst, dst=ip.src, tc=0xC0, hlim=64) / ICMPv6PacketTooBig(mtu=mtu) / Raw(bytes(ip)[:1232])
    ether = ether or Ether(src=NODE_MAC, dst=CLIENT_MAC)
    vector(name, "ingress", frame or client(ip), "too_big_answered", ether / answer, **variant)


def sized4(vip, length, **ip):
    ip.setdefault("flags", "DF")
    return IP(src=ip.pop("src", CLIENT), dst=vip, **ip) / TCP(sport=1, dport=80, flags="A") / Raw(bytes(i % 251 for i in range(length - 40)))


def sized6(vip, length, **ip):
    return IPv6(src=ip.pop("src", CLIENT6), dst=vip, **ip) / TCP(sport=1, dport=80, flags="A") / Raw(bytes(i % 251 for i in range(length - 60)))


# Frames of several buffers: the headers lie in the first one.
def jumbo4(vip):
    return IP(src=CLIENT, dst=vip, flags="DF") / TCP(sport=1, dport=80, flags="A") / JUMBO


def jumbo6(vip):
    return IPv6(src=CLIENT6, dst=vip) / TCP(sport=1, dport=80, flags="A") / JUMBO


def padded(ip, surplus):
    return bytes(client(ip)) + b"\0" * surplus


for surplus in (0, 1, 7):
    jumbo = jumbo4("203.0.113.60")
    forwards(f"jumbo, {surplus} bytes too much", jumbo, "jumbo", "forwarded_gue", hops=LISTED, frame=padded(jumbo, surplus))
    jumbo = jumbo6("2001:db8:0:1::60")
    forwards(f"jumbo over v6, {surplus} bytes too much", jumbo, "jumbo6", "forwarded_gue", hops=LISTED6,
             frame=padded(jumbo, surplus))
forwards("jumbo datagram", IP(src=CLIENT, dst="203.0.113.60") / UDP(sport=1, dport=80) / JUMBO, "jumbo",
         "forwarded_gue")
jumbo = IP(src=CLIENT, dst="203.0.113.60") / TCP(sport=1, dport=81, flags="A") / JUMBO
forwards("jumbo by ipip", jumbo, "jumbo-ipip", "forwarded_ipip")
short = sized4("203.0.113.60", 400)
forwards("a short packet in a jumbo frame", short, "jumbo", "forwarded_gue", hops=LISTED, frame=padded(short, 8000))
drops("jumbo that lacks a byte", bytes(client(jumbo4("203.0.113.60")))[:-1], "length_beyond_frame")
drops("jumbo that lacks a byte, v6", bytes(client(jumbo6("2001:db8:0:1::60")))[:-1], "length_beyond_frame")
answered("jumbo that does not fit", jumbo4("203.0.113.8"), 564)
answered("jumbo that does not fit, v6", jumbo6("2001:db8:0:1::9"), 1344)

answered("does not fit", sized4("203.0.113.8", 1400), 564)
answered("one byte too big", sized4("203.0.113.8", 565), 564)
answered("does not fit over v6", sized4("203.0.113.9", 1345), 1344)
forwards("fits exactly over v6", sized4("203.0.113.9", 1344), "narrow6", "forwarded_gue")
answered("does not fit even without its hops", sized4("203.0.113.26", 565), 600 - 36 - 12)
answered("does not fit even without its hops, udp", IP(src=CLIENT, dst="203.0.113.26", flags="DF")
         / UDP(sport=777, dport=80) / Raw(b"m" * 900), 600 - 36 - 16)
answered("does not fit even without its hops, over v6", sized4("203.0.113.27", 645), 700 - 56 - 7 * 16)
answered("does not fit without a tunnel", sized4("203.0.113.10", 1401), 1400)
answered("does not fit, odd length and padding", sized4("203.0.113.8", 1399), 564,
         frame=bytes(client(sized4("203.0.113.8", 1399))) + b"\xee" * 7)
answered("does not fit, with ip options", IP(src=CLIENT, dst="203.0.113.8", flags="DF", tos=0xB9, ttl=3,
         options=[IPOption(b"\x94\x04\0\0")]) / UDP(sport=5, dport=80) / Raw(b"u" * 1000), 564)
answered("does not fit, v6", sized6("2001:db8:0:1::9", 1345), 1344)
answered("does not fit, v6, odd length and padding", sized6("2001:db8:0:1::9", 1399, tc=0xB8, fl=0xABCDE), 1344,
         frame=bytes(client(sized6("2001:db8:0:1::9", 1399, tc=0xB8, fl=0xABCDE))) + b"\xee" * 7)
answered("does not fit, v6, less than ipv6 wants", sized6("2001:db8:0:1::8", 1281), 1280)
for tags, name in (([Dot1Q(vlan=100)], "one vlan tag"), ([Dot1AD(vlan=7), Dot1Q(vlan=100)], "two vlan tags")):
    stack = tags[0] if len(tags) == 1 else tags[0] / tags[1]
    for ip, mtu, number in ((IP(bytes(sized4("203.0.113.8", 1000))), 564, "v4"),
                            (IPv6(bytes(sized6("2001:db8:0:1::9", 1390))), 1344, "v6")):
        answered(f"does not fit, {name}, {number}", ip, mtu, frame=bytes(client(stack / ip)),
                 ether=Ether(src=NODE_MAC, dst=CLIENT_MAC) / stack)
answered("does not fit, a first fragment", sized4("203.0.113.8", 1000, flags="DF+MF"), 564)
drops("does not fit, df clear", client(sized4("203.0.113.8", 1400, flags=0)), "too_big_no_df")
drops("does not fit, a fragment with df clear", client(sized4("203.0.113.8", 1400, flags="MF")), "too_big_no_df")
vector("does not fit, said too often", "ingress", client(sized4("203.0.113.8", 1400)), "too_big_limited", mode="no-hops")
vector("does not fit, said too often, v6", "ingress", client(sized6("2001:db8:0:1::9", 1400)), "too_big_limited",
       mode="no-hops")
FIRST_BIG = IP(bytes(sized4("203.0.113.8", 1000, flags="MF", id=0x77)))
vector("does not fit, a later fragment", "ingress", client(IP(src=CLIENT, dst="203.0.113.8", proto=6, id=0x77, flags="DF",
       frag=9) / Raw(b"f" * 1000)), "too_big", before=[bytes(client(FIRST_BIG)).hex()])
for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "203.0.113.1"):
    drops(f"does not fit, from {source}", client(sized4("203.0.113.8", 1400, src=source)), "too_big")
for source in ("::", "::1", "ff02::1", "2001:db8:0:1::1"):
    drops(f"does not fit, from {source}", client(sized6("2001:db8:0:1::9", 1400, src=source)), "too_big")
drops("does not fit, sent to a group of stations",
      Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / sized4("203.0.113.8", 1400), "too_big")
drops("does not fit, an icmp error", client(IP(src=ROUTER, dst="203.0.113.8", flags="DF") / ICMP(**TOO_BIG)
      / Raw(bytes(IP(src="203.0.113.8", dst=CLIENT) / TCP(sport=80, dport=1) / Raw(b"r" * 600)))), "too_big")
drops("does not fit, an icmp error, v6", client(error6(bytes(IPv6(src="2001:db8:0:1::9", dst=CLIENT6)
      / TCP(sport=80, dport=1) / Raw(b"r" * 1300)), "2001:db8:0:1::9", too_big6)), "too_big")
drops("does not fit, v6, and no sender goes lower", client(sized6("2001:db8:0:1::8", 1280)), "too_big")

# --- ingress: the mss ---------------------------------------------------------------------------


def clamps(name, vip, pool, before, after, flags="S", frame_of=None, **tcp):
    """A segment with the TCP options `before` is sent on with `after`."""
    def segment(options):
        ip = IP(src=CLIENT, dst=vip) if "." in vip else IPv6(src=CLIENT6, dst=vip)
        return ip.__class__(bytes(ip / TCP(sport=5, dport=80, flags=flags, options=options, **tcp)))
    vector(name, "ingress", client(segment(before)), "forwarded_gue" if pool != "clamped-ipip" else "forwarded_ipip",
           tunnelled(segment(after), pool))


def linux(mss):
    return [("MSS", mss), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)]


clamps("mss lowered", "203.0.113.40", "clamped", linux(1460), linux(1396))
clamps("mss lowered, v6", "2001:db8:0:1::40", "clamped", linux(1440), linux(1376))
clamps("mss lowered over v6", "203.0.113.41", "clamped6", linux(1460), linux(1292))
clamps("mss lowered over v6, v6", "2001:db8:0:1::41", "clamped6", linux(8940), linux(1272))
clamps("mss lowered in ipip", "203.0.113.42", "clamped-ipip", linux(1460), linux(1440))
clamps("mss is the last option", "203.0.113.40", "clamped", [("SAckOK", b""), ("WScale", 7), ("NOP", None), ("MSS", 0xFFFF)],
       [("SAckOK", b""), ("WScale", 7), ("NOP", None), ("MSS", 1396)])
for count in (1, 2, 3):
    clamps(f"mss behind {count} bytes of padding", "203.0.113.40", "clamped", [("NOP", None)] * count + [("MSS", 1460)],
           [("NOP", None)] * count + [("MSS", 1396)])
clamps("mss behind nine options", "203.0.113.40", "clamped", [("NOP", None)] * 9 + [("MSS", 1460)],
       [("NOP", None)] * 9 + [("MSS", 1396)])
for name, options in {
    "mss behind ten options": [("NOP", None)] * 10 + [("MSS", 1460)], "mss that fits": linux(1396),
    "mss of 0": linux(0), "no mss": [("SAckOK", b"")], "no option": [],
    "mss behind the end": [("EOL", None)] * 4 + [("MSS", 1460)],
    "mss of another length": [(2, b"\xff\xff\xff")], "mss behind an option without length": [(77, b"")],
}.items():
    clamps(name, "203.0.113.40", "clamped", options, options)
syn = bytes(IP(src=CLIENT, dst="203.0.113.40") / TCP(sport=5, dport=80, flags="S", options=[("NOP", None)] * 4 + [("MSS", 1460)]))
for name, options in {"zero": b"\x08\x00", "one": b"\x08\x01"}.items():
    ip = IP(syn[:40] + options + syn[42:])
    forwards(f"mss behind an option of length {name}", ip, "clamped", "forwarded_gue")
forwards("tcp options reach beyond the packet", IP(bytes(IP(src=CLIENT, dst="203.0.113.40")
         / TCP(sport=5, dport=80, flags="S", dataofs=15, options=[("MSS", 1460)]))), "clamped", "forwarded_gue")
forwards("tcp header length too short", IP(bytes(IP(src=CLIENT, dst="203.0.113.40")
         / TCP(sport=5, dport=80, flags="S", dataofs=2, options=[("MSS", 1460)]))), "clamped", "forwarded_gue")
clamps("mss of a syn-ack", "203.0.113.40", "clamped", linux(1460), linux(1460), flags="SA")
clamps("mss after the handshake", "203.0.113.40", "clamped", linux(1460), linux(1460), flags="A")
clamps("mss where nobody asks for it", "203.0.113.1", "gue4", linux(8960), linux(8960))
forwards("udp where mss is lowered", IP(src=CLIENT, dst="203.0.113.40") / UDP(sport=5, dport=80) / DATA, "clamped",
         "forwarded_gue")
first = IP(bytes(IP(src=CLIENT, dst="203.0.113.40", flags="MF") / TCP(sport=5, dport=80, flags="S", options=linux(1460))))
forwards("mss of a fragment", first, "clamped", "forwarded_gue", first=first)

# --- backend: what is taken ---------------------------------------------------------------------

BIG4 = IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / TCP(sport=1, dport=80, flags="A") / JUMBO))
BIG6 = IPv6(bytes(IPv6(src=CLIENT6, dst="2001:db8:0:1::1") / TCP(sport=1, dport=80, flags="A") / JUMBO))
IN4, IN6 = IP(bytes(tcp4("203.0.113.1", 80))), IPv6(bytes(tcp6("2001:db8:0:1::1", 80)))
for inner, name in ((IN4, "v4"), (IN6, "v6")):
    number = 41 if inner.version == 6 else 4
    for outer6, over in ((False, "v4"), (True, "v6")):
        vector(f"{name} out of gue over {over}", "backend", sent(inner, outer6), "decap_gue", received(inner))
        vector(f"{name} out of ip over {over}", "backend", sent(inner, outer6, ipip=number), "decap_ipip", received(inner))
    vector(f"{name} out of gue without private data", "backend", sent(inner, gue=bytes([0, number, 0, 0])), "decap_gue",
           received(inner))
    vector(f"{name} out of gue with three hops used up", "backend",
           sent(inner, gue=bytes([4, number, 0, 0, 0, 0, 3, 3]) + b"\x0a\0\0\x0c" * 3), "decap_last", received(inner))
    vector(f"{name} out of gue over v6 with seven hops used up", "backend",
           sent(inner, True, gue=bytes([29, number, 0, 0, 0, 1, 7, 7]) + b"\xfd" * 112), "decap_last", received(inner))
vector("jumbo out of gue", "backend", sent(BIG4), "decap_gue", received(BIG4))
vector("jumbo out of gue over v6", "backend", sent(BIG6, True), "decap_gue", received(BIG6))
vector("jumbo out of ipip, padded", "backend", bytes(sent(BIG4, ipip=4)) + b"\0" * 9, "decap_ipip", received(BIG4))
vector("jumbo whose congestion was marked", "backend", sent(IP(bytes(IP(src=CLIENT, dst="203.0.113.1", tos=2) / TCP() / JUMBO)),
       ecn=3), "decap_gue", received(IP(src=CLIENT, dst="203.0.113.1", tos=3) / TCP() / JUMBO))
vector("outer options", "backend", sent(IN4, options=[IPOption(b"\x94\x04\x00\x00")]), "decap_gue", received(IN4))
vector("padding behind the outer packet", "backend", bytes(sent(IN4)) + b"\0" * 9, "decap_gue", received(IN4))
vector("padding inside the outer packet", "backend", sent(Raw(bytes(IN4) + b"\0" * 5)), "decap_gue", received(IN4))
tagged = Ether(src=CLIENT_MAC, dst=NODE_MAC) / Dot1Q(vlan=5) / sent(IN4).payload
vector("the outer vlan tag stays", "backend", tagged, "decap_gue",
       Ether(src=CLIENT_MAC, dst=NODE_MAC) / Dot1Q(vlan=5, type=0x0800) / Raw(bytes(IN4)))
tagged = Ether(src=CLIENT_MAC, dst=NODE_MAC) / Dot1AD(vlan=9) / Dot1Q(vlan=5) / sent(IN6, True).payload
vector("both outer vlan tags stay", "backend", tagged, "decap_gue",
       Ether(src=CLIENT_MAC, dst=NODE_MAC) / Dot1AD(vlan=9) / Dot1Q(vlan=5, type=0x86DD) / Raw(bytes(IN6)))
RFC6040 = {(0, 0): 0, (0, 1): 0, (0, 2): 0, (1, 0): 1, (1, 1): 1, (1, 2): 1, (1, 3): 3, (2, 0): 2, (2, 1): 1, (2, 2): 2,
           (2, 3): 3, (3, 0): 3, (3, 1): 3, (3, 2): 3, (3, 3): 3}
for (inner_ecn, outer_ecn), result in RFC6040.items():
    vector(f"ecn {inner_ecn} inside {outer_ecn}", "backend",
           sent(IP(bytes(tcp4("203.0.113.1", 80, tos=0xB8 | inner_ecn))), ecn=outer_ecn), "decap_gue",
           received(IP(bytes(tcp4("203.0.113.1", 80, tos=0xB8 | result)))))
    vector(f"ecn {inner_ecn} inside {outer_ecn}, v6", "backend",
           sent(IPv6(bytes(tcp6("2001:db8:0:1::1", 80, tc=0xB8 | inner_ecn, fl=0xFEDCB))), True, ecn=0x20 | outer_ecn),
           "decap_gue", received(IPv6(bytes(tcp6("2001:db8:0:1::1", 80, tc=0xB8 | result, fl=0xFEDCB)))))

# --- backend: hops ------------------------------------------------------------------------------


def listing(inner, hops, next_hop=0):
    """The GUE header with `hops`."""
    listed = b"".join(ipaddress.ip_address(hop).packed for hop in hops)
    wide = ":" in hops[0]
    number = 41 if inner.version == 6 else 4
    return bytes([1 + len(listed) // 4, number, 0, 0, 0, int(wide), next_hop, len(hops)]) + listed


def hop_frame(inner, hops, next_hop, src, dst, ttl, checksum):
    wide = ":" in hops[0]
    payload = listing(inner, hops, next_hop) + bytes(inner)
    udp = UDP(sport=0x9999, dport=19523) if checksum else UDP(sport=0x9999, dport=19523, chksum=0)
    ip = IPv6(src=src, dst=dst, hlim=ttl, tc=0x12) if wide else IP(src=src, dst=dst, ttl=ttl, tos=0x12, flags="DF", id=7)
    return Ether(src=CLIENT_MAC, dst=NODE_MAC) / ip / udp / Raw(payload)


def hops_on(name, inner, hops, to, at=0, ttl=64, checksum=False, verdict="hop", src=None, **variant):
    """The backend sends `inner` on to hop number `to`, having been reached as number `at` - 1."""
    wide = ":" in hops[0]
    me = BACKEND6 if wide else BACKEND
    before = hop_frame(inner, hops, at, src or (NODE6 if wide else NODE), me, ttl, checksum)
    if verdict != "hop":
        return vector(name, "backend", before, verdict, **variant)
    vector(name, "backend", before, verdict, hop_frame(inner, hops, to + 1, me, hops[to], ttl - 1, checksum), **variant)


THREE, SIX = ["10.0.0.12", "10.0.0.13", "10.0.0.14"], ["fd00::12", "fd00::13"]
U4 = IP(bytes(udp4("203.0.113.1", 53)))
U6 = IPv6(bytes(IPv6(src=CLIENT6, dst="2001:db8:0:1::2") / UDP(sport=1, dport=53) / DATA))
QUOTED4 = IP(src="203.0.113.1", dst=CLIENT) / TCP(sport=80, dport=51234)
QUOTED6 = IPv6(src="2001:db8:0:1::1", dst=CLIENT6) / TCP(sport=80, dport=51234)
TOO_BIG4 = IP(bytes(IP(src="198.51.100.9", dst="203.0.113.1") / ICMP(type=3, code=4, nexthopmtu=1400)
                    / Raw(bytes(QUOTED4)[:28])))
TOO_BIG6 = IPv6(bytes(IPv6(src="2001:db8:9::1", dst="2001:db8:0:1::1", nh=58)
                      / Raw(b"\x02\0\x12\x34\0\0\x05\x78" + bytes(QUOTED6))))
for checksum in (False, True):
    word = "with" if checksum else "without"
    hops_on(f"unknown ack, {word} udp checksum", IN4, THREE, 0, checksum=checksum)
    hops_on(f"unknown ack over v6, {word} udp checksum", IN6, SIX, 0, checksum=checksum)
    hops_on(f"unknown ack at the second hop, {word} udp checksum", IN4, THREE, 1, at=1, checksum=checksum)
hops_on("v6 inside v4", IN6, THREE, 0)
hops_on("jumbo", BIG4, THREE, 0)
hops_on("jumbo over v6", BIG6, SIX, 0)
hops_on("v4 inside v6", IN4, SIX, 1, at=1)
hops_on("udp without a connected socket", U4, THREE, 0)
hops_on("udp without a connected socket, v6", U6, SIX, 0)
hops_on("fragmentation needed for an unknown flow", TOO_BIG4, THREE, 0)
hops_on("packet too big for an unknown flow", TOO_BIG6, SIX, 0)
hops_on("ourselves in the list are skipped", IN4, [BACKEND, "10.0.0.13"], 1)
hops_on("ourselves thrice in the list are skipped", IN6, [BACKEND6] * 3 + ["fd00::13"], 3)
hops_on("the largest ttl", IN4, THREE, 0, ttl=255)
hops_on("ttl 2 is enough", IN4, THREE, 0, ttl=2, checksum=True)
hops_on("ttl 1 is not", IN4, THREE, 0, ttl=1, verdict="hop_ttl")
hops_on("ttl 0 is not", IN6, SIX, 0, ttl=0, verdict="hop_ttl")
hops_on("a hop that is a stranger", IN4, ["192.0.2.99"], 0, verdict="hop_stranger")
hops_on("a hop that is a stranger, v6", IN6, ["2001:db8:dead::1"], 0, verdict="hop_stranger")
hops_on("hops switched off", IN4, THREE, 0, verdict="hop_limited", mode="no-hops")
hops_on("from ourselves, off the wire", IN4, THREE, 0, verdict="stranger", src=BACKEND)
hops_on("from ourselves, off the wire, v6", IN6, SIX, 0, verdict="stranger", src=BACKEND6)
hops_on("a hop that is a vip", IN4, ["203.0.113.3"], 0, verdict="hop_stranger")


def stays(name, inner, hops, verdict="decap_gue", at=0):
    wide = ":" in hops[0]
    frame = hop_frame(inner, hops, at, NODE6 if wide else NODE, BACKEND6 if wide else BACKEND, 64, False)
    vector(name, "backend", frame, verdict, received(inner))


SYN4 = IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / TCP(sport=51234, dport=80, flags="S")))
SYN6 = IPv6(bytes(IPv6(src=CLIENT6, dst="2001:db8:0:1::1") / TCP(sport=51234, dport=80, flags="S")))
stays("a syn stays", SYN4, THREE)
stays("a syn stays, v6", SYN6, SIX)
stays("a syn with data stays", IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / TCP(sport=51234, dport=80, flags="S") / DATA)), THREE)
stays("a fragment stays", IP(bytes(tcp4("203.0.113.1", 80, flags="MF"))), THREE)
stays("a later fragment stays", IP(bytes(tcp4("203.0.113.1", 80, frag=33))), THREE)
stays("echo stays", IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / ICMP(type=8))), THREE)
stays("gre stays", IP(bytes(IP(src=CLIENT, dst="203.0.113.1") / GRE())), THREE)
stays("the last of a list gets a syn as well", SYN4, THREE, at=3)
stays("the last of a list gets what no socket takes", IN4, THREE, "decap_last", at=3)
stays("only ourselves in the list", IN4, [BACKEND] * 7, "decap_last")
stays("only ourselves in the list, v6", IN6, [BACKEND6] * 7, "decap_last")

# --- backend: what looks like a hop and is none ---------------------------------------------------

# All of it passes; the native tests see to it that none of it is relayed.
GUE_PORTS = struct.pack(">HHHH", 0x9999, 19523, 8, 0)
LOOKS_ALIKE = IP(src=BACKEND, dst="10.0.0.12", flags="DF", proto=17)
fragment, no_length = LOOKS_ALIKE.copy(), LOOKS_ALIKE.copy()
fragment.flags, fragment.frag = 0, 100
no_length.len = 0
vector("a later fragment from ourselves that reads like gue", "backend", client(fragment) / Raw(GUE_PORTS * 2), "not_tunnel")
vector("ip length 0, from ourselves", "backend", client(no_length) / Raw(GUE_PORTS), "not_tunnel")
vector("ip version 5, from ourselves", "backend",
       bytes(client(LOOKS_ALIKE))[:14] + b"\x55" + bytes(client(LOOKS_ALIKE / Raw(GUE_PORTS)))[15:], "not_tunnel")
for version in (0, 4, 7):
    frame = bytearray(bytes(client(IPv6(src=BACKEND6, dst="fd00::12", nh=17) / Raw(GUE_PORTS))))
    frame[14] = version << 4
    vector(f"ipv6 version {version}, from ourselves", "backend", frame, "not_tunnel")
three_tags = Ether(src=CLIENT_MAC, dst=NODE_MAC) / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3)
vector("three vlan tags, from ourselves", "backend", three_tags / LOOKS_ALIKE / Raw(GUE_PORTS), "backend_not_ip")
# A client that claims to be the backend, to a VIP of every port.
INNER_ALIKE = IP(bytes(IP(src=BACKEND, dst="203.0.113.3") / UDP(sport=1, dport=19523) / DATA))
vector("an inner packet from ourselves to the port of gue", "backend", sent(INNER_ALIKE), "decap_gue", received(INNER_ALIKE))
INNER_ALIKE = IPv6(bytes(IPv6(src=BACKEND6, dst="2001:db8:0:1::3") / UDP(sport=1, dport=19523) / DATA))
vector("an inner packet from ourselves to the port of gue, v6", "backend", sent(INNER_ALIKE), "decap_gue",
       received(INNER_ALIKE))

# --- backend: what is not -----------------------------------------------------------------------


def refuses(name, packet, verdict):
    vector(name, "backend", packet, verdict)


refuses("arp at the backend", client(ARP(pdst="10.0.0.2")), "backend_not_ip")
refuses("plain tcp", client(IN4), "not_tunnel")
refuses("udp to another port", client(IP(src=NODE, dst=BACKEND) / UDP(dport=53) / DATA), "not_tunnel")
refuses("a later udp fragment", sent(IN4, frag=100), "not_tunnel")
refuses("outer cut short", bytes(sent(IN4))[:14 + 19], "not_tunnel")
refuses("outer header length 4", bytes(sent(IN4))[:14] + b"\x44" + bytes(sent(IN4))[15:], "not_tunnel")
refuses("tunnelled to somebody else", sent(IN4, dst="10.0.0.12"), "not_for_us")
refuses("tunnelled to a vip", sent(IN4, dst="203.0.113.1"), "not_for_us")
refuses("a stranger", sent(IN4, src="10.9.0.2"), "stranger")
refuses("a stranger, v6", sent(IN4, True, src="fd01::2"), "stranger")
refuses("a stranger's ipip", sent(IN4, src="192.0.2.1", ipip=4), "stranger")
refuses("first outer fragment", sent(IN4, flags="MF"), "outer_fragment")
refuses("later ipip fragment", sent(IN4, ipip=4, frag=9), "outer_fragment")
refuses("outer longer than the jumbo frame", bytes(sent(BIG4))[:-1], "outer_malformed")
refuses("outer longer than the frame", bytes(sent(IN4))[:-1], "outer_malformed")
refuses("udp length too long", sent(IN4, udp_extra=1), "outer_malformed")
refuses("udp length too short", sent(IN4, udp_extra=-1), "outer_malformed")
refuses("no room for gue", sent(Raw(b""), gue=b"\0\4\0"), "outer_malformed")
refuses("gue version 1", sent(IN4, gue=b"\x41\x04\0\0\0\0\0\0"), "gue_version")
refuses("gue control", sent(IN4, gue=b"\x21\x04\0\0\0\0\0\0"), "gue_version")
refuses("gue flags", sent(IN4, gue=b"\x01\x04\0\x01\0\0\0\0"), "gue_version")
refuses("gue with ethernet inside", sent(IN4, gue=b"\x01\x61\0\0\0\0\0\0"), "gue_protocol")
refuses("hlen beyond the packet", sent(Raw(b"12345678"), gue=b"\x1f\x04\0\0\0\0\0\0"), "gue_length")
refuses("hlen says no hops, the word says one", sent(IN4, gue=b"\x01\x04\0\0\0\0\0\1"), "gue_length")
refuses("hlen says one hop, the word says none", sent(IN4, gue=b"\x02\x04\0\0\0\0\0\0\x0a\0\0\x0c"), "gue_length")
refuses("255 hops", sent(IN4, gue=b"\x1f\x04\0\0\0\0\0\xff" + b"\x0a\0\0\x0c" * 30), "gue_length")
refuses("eight hops over v6", sent(IN4, True, gue=b"\x1f\x04\0\0\0\x01\0\x08" + b"\xfd" * 120), "gue_length")
refuses("wide hops over v4", sent(IN4, gue=b"\x01\x04\0\0\0\x01\0\0"), "gue_type")
refuses("narrow hops over v6", sent(IN4, True, gue=b"\x01\x04\0\0\0\0\0\0"), "gue_type")
refuses("unknown private type", sent(IN4, gue=b"\x01\x04\0\0\xff\0\0\0"), "gue_type")
refuses("next hop beyond the list", sent(IN4, gue=b"\x02\x04\0\0\0\0\x02\x01\x0a\0\0\x0c"), "gue_hops")
refuses("v6 announced as v4", sent(IN6, gue=b"\x01\x04\0\0\0\0\0\0"), "inner_malformed")
refuses("v4 announced as v6", sent(IN4, gue=b"\x01\x29\0\0\0\0\0\0"), "inner_malformed")
refuses("inner cut inside its header", sent(Raw(bytes(IN4)[:19])), "inner_malformed")
refuses("nothing inside", sent(Raw(b"")), "inner_malformed")
refuses("inner header length 4", sent(Raw(b"\x44" + bytes(IN4)[1:])), "inner_malformed")
refuses("inner longer than the outer", sent(Raw(bytes(IN4)[:-1])), "inner_length")
refuses("inner longer than the outer, padded", bytes(sent(Raw(bytes(IN4)[:-1]))) + b"\0" * 20, "inner_length")
refuses("inner to somebody else", sent(IP(bytes(tcp4("198.51.100.1", 80)))), "inner_not_vip")
refuses("inner to the backend itself", sent(IP(bytes(tcp4(BACKEND, 22)))), "inner_not_vip")
refuses("congestion where ecn is unknown", sent(IP(bytes(tcp4("203.0.113.1", 80, tos=0xB8))), ecn=3), "inner_ce")
refuses("congestion where ecn is unknown, v6", sent(IPv6(bytes(tcp6("2001:db8:0:1::1", 80))), True, ecn=3), "inner_ce")

names = [v["name"] for v in vectors]
assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
json.dump({
    "seed": SEED.hex(), "node": [NODE, NODE6], "macs": {"source": OUT_MAC, "destination": NEXT_MAC},
    "pools": POOLS,
    "previous_seed": PREVIOUS_SEED.hex(),
    "vips": [{"address": a, "port": p, "protocol": r, "pool": q} for a, p, r, q in VIPS]
    + [{"address": a, "port": p, "protocol": r, "pool": q, "second_chance": True} for a, p, r, q in SECOND_CHANCE]
    + [{"address": a, "port": p, "protocol": r, "pool": q, "hash": parts} for a, p, r, q, parts in HASHED if q]
    + [{"address": a, "port": p, "protocol": r, "pool": q, "quic_config": c, "server_id_length": n, "hash": parts}
       for a, p, r, q, c, n, parts in QUIC]
    + [{"address": a, "port": p, "protocol": r, "pool": q, "mss_clamp": True} for a, p, r, q in CLAMPED]
    + [{"address": a, "port": p, "protocol": r, "pool": q, "identity": True} for a, p, r, q in IDENTITY],
    "prefixes": PREFIXES, "senders": SENDERS, "locals": LOCALS, "vectors": vectors,
}, sys.stdout, indent=1)
print()
