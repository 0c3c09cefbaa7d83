"""The parts of ``worker_pool.py``.

job: what is computed.  worker: the application.  stage, screen, verdict: the demonstration.  voice: how they talk.
"""
