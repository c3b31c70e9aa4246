"""What the routes work with: one database, the jobs, the library, the keys, the models."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tonewheel.gateway.auth import Guard
from tonewheel.gateway.keys import Keys
from tonewheel.gateway.models import Models
from tonewheel.gateway.names import Names
from tonewheel.jobs import JobStore, open_jobs
from tonewheel.jobs.feed import Feed
from tonewheel.library import Database, Library
from tonewheel.settings import Settings


@dataclass
class Backend:
    """Everything but `feed.follow` is blocking: ask it in a thread."""

    database: Database
    store: JobStore
    library: Library
    keys: Keys
    names: Names
    guard: Guard
    models: Models
    feed: Feed
    stopping: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(cls, settings: Settings, *, public: bool = False) -> Backend:
        """Connect and make the tables where they are missing. Raises Unavailable …

        `public` = the address can be reached from other machines: then every request needs a key.
        """
        store, library = open_jobs(settings)
        keys, names = Keys(store.database), Names(store.database)
        keys.create_tables()
        names.create_tables()
        environment_key = settings.api_key.get_secret_value() if settings.api_key else None
        guard = Guard(keys, always=public, environment_key=environment_key)
        models = Models(settings.data_dir)
        feed = Feed(store)
        feed.start()
        return cls(store.database, store, library, keys, names, guard, models, feed)

    def stop(self) -> None:
        """End event streams and those who wait; everything else is still answered."""
        self.stopping.set()
        self.feed.close()

    def close(self) -> None:
        """End what this process started, and the connections."""
        self.stop()
        self.models.close()
        self.database.close()
