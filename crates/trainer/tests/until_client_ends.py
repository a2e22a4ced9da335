"""Waits for an hour, or until the client is gone: as `end_with_client` of deploy/trainers/cloister_job.py does it."""

import os
import threading
import time


def wait_for_end():
    while os.read(0, 4096):
        pass
    os._exit(1)


threading.Thread(target=wait_for_end, daemon=True).start()
print("ready", flush=True)
time.sleep(3600)
