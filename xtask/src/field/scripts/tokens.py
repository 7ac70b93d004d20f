"""Asks a Teeworlds server for tokens, as a client does that connects: some thousands a second, twenty at once."""

import socket
import sys
import time

ASK = b"\x04\x00\x00\xff\xff\xff\xff\x05\x01\x02\x03\x04".ljust(519, b"\0")

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
client.settimeout(0.05)
while True:
    try:
        for _ in range(20):
            client.send(ASK)
        for _ in range(20):
            client.recv(2048)
    except OSError:
        pass
    time.sleep(0.002)
