-- The journal, version 4. A REAL that is NULL means NaN: SQLite knows no other.

BEGIN IMMEDIATE;

CREATE TABLE meta (              -- what `status` and `best` need to know without the experiment file
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL            -- JSON
) WITHOUT ROWID;

CREATE TABLE brackets (          -- of early stopping
  number INTEGER PRIMARY KEY,
  rule   TEXT NOT NULL           -- JSON: its settings
);

CREATE TABLE runs (
  number    INTEGER PRIMARY KEY,                -- once given, never given again
  id        TEXT    NOT NULL,
  "group"   INTEGER NOT NULL,
  config    TEXT    NOT NULL,                   -- canonical JSON of the leaf config
  seed      INTEGER NOT NULL,
  replicate INTEGER NOT NULL,
  origin    TEXT,                               -- JSON: of a replacement, whose place it takes and why
  warm_start TEXT,                              -- JSON: the run and epoch whose weights it begins with
  epochs    INTEGER NOT NULL,                   -- to train
  bracket   INTEGER REFERENCES brackets (number),
  listed    INTEGER NOT NULL DEFAULT 1,         -- 0 once the file no longer asks for it
  state     TEXT    NOT NULL DEFAULT 'queued',
  former    TEXT,                               -- state before it was deleted; NULL once it is purged
  epoch     INTEGER NOT NULL DEFAULT 0,         -- finished so far
  step      INTEGER NOT NULL DEFAULT 0,         -- optimizer steps taken so far
  durable   INTEGER NOT NULL DEFAULT 0,         -- ticks that a checkpoint holds
  cause     TEXT    NOT NULL DEFAULT '',        -- one line, where it failed
  code      TEXT,                               -- JSON: hashes of the user's modules, when last opened
  data      TEXT,                               -- JSON: hashes of the splits, likewise
  environment TEXT                              -- JSON: packages, device, threads, likewise
);

CREATE TABLE turns (
  run     INTEGER NOT NULL REFERENCES runs (number),
  slot    INTEGER NOT NULL,
  until   INTEGER NOT NULL,      -- ticks asked for
  at      INTEGER,               -- ticks reached; NULL while it lasts, and for ever if its worker died
  started REAL    NOT NULL,      -- seconds since the epoch, as are all times here
  ended   REAL
);
CREATE INDEX turns_by_run ON turns (run);

CREATE TABLE metrics (
  run   INTEGER NOT NULL REFERENCES runs (number),
  epoch INTEGER NOT NULL,
  split TEXT    NOT NULL,
  name  TEXT    NOT NULL,
  step  INTEGER NOT NULL,
  value REAL,
  PRIMARY KEY (run, epoch, split, name)
) WITHOUT ROWID;

CREATE TABLE so_far (            -- metrics of training inside an epoch, at the end of a turn
  run   INTEGER NOT NULL REFERENCES runs (number),
  epoch INTEGER NOT NULL,        -- under way
  step  INTEGER NOT NULL,
  split TEXT    NOT NULL,
  name  TEXT    NOT NULL,
  value REAL,
  PRIMARY KEY (run, epoch, step, split, name)
) WITHOUT ROWID;

CREATE TABLE requests (          -- what people asked for, in the order in which it was decided
  id      TEXT PRIMARY KEY,      -- a UUID that the client made: a request that comes twice counts once
  at      REAL NOT NULL,
  body    TEXT NOT NULL,         -- JSON: source, uid, pid, what was asked for
  answers TEXT NOT NULL          -- JSON: one for each run
);

CREATE TABLE events (
  seq  INTEGER PRIMARY KEY,
  at   REAL NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL             -- JSON
);

PRAGMA user_version = 4;

COMMIT;
