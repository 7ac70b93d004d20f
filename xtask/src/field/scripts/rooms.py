# Looks two rooms up in ZooKeeper and writes one, twenty times a second. Argument: the port.
import sys
import time

from kazoo.client import KazooClient

client = KazooClient(hosts="127.0.0.1:" + sys.argv[1])
client.start()
for room in range(8):
    client.ensure_path("/rooms/%d" % room)
print("ready", flush=True)
turn = 0
while True:
    begun = time.monotonic()
    client.get("/rooms/%d" % (turn % 8))
    client.get("/rooms/%d" % ((turn + 1) % 8))
    client.set("/rooms/%d" % (turn % 8), b"players=%d" % (turn % 100))
    turn += 1
    time.sleep(max(0, 0.05 - (time.monotonic() - begun)))
