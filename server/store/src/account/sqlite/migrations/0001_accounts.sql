-- Accounts, their devices and room lists, and which rooms exist.
--
-- Times are milliseconds since 1970-01-01 UTC. A change of an account takes the next revision of its
-- row in `account`, which the changed row then carries. Rows that ended stay.

CREATE TABLE account (
    id INTEGER NOT NULL PRIMARY KEY,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    -- 0 available, 1 busy.
    availability INTEGER NOT NULL DEFAULT 0,
    status_text TEXT NOT NULL DEFAULT '',
    last_seen INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE device (
    id INTEGER NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER,
    -- SHA-256 of the secret that all refresh tokens of the device share.
    family BLOB NOT NULL,
    -- SHA-256 of the refresh token presented last, or of the first one.
    token BLOB NOT NULL,
    -- SHA-256 of each token issued for it and not yet presented, 32 bytes each, oldest first.
    successors BLOB NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

CREATE INDEX device_live ON device (account) WHERE revoked IS NULL;
CREATE INDEX device_revoked ON device (revoked) WHERE revoked IS NOT NULL;

CREATE TABLE room_row (
    account INTEGER NOT NULL REFERENCES account (id),
    room INTEGER NOT NULL,
    -- 1 direct, 2 group.
    kind INTEGER NOT NULL,
    -- The membership entry that the row was written from.
    seq INTEGER NOT NULL,
    joined_seq INTEGER NOT NULL,
    left_seq INTEGER,
    joined_revision INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (account, room)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX room_row_revision ON room_row (account, revision);
CREATE INDEX room_row_joined ON room_row (account, joined_revision) WHERE left_seq IS NULL;

CREATE TABLE room (
    id INTEGER NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    -- A group: the command that made it.
    creator INTEGER REFERENCES account (id),
    client_message_id BLOB,
    title TEXT,
    -- A direct room: its pair.
    lower_account INTEGER REFERENCES account (id),
    higher_account INTEGER REFERENCES account (id),
    UNIQUE (creator, client_message_id),
    UNIQUE (lower_account, higher_account),
    CHECK ((creator IS NULL) <> (lower_account IS NULL)),
    CHECK (lower_account < higher_account)
) STRICT;

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE signing_key (
    kid TEXT NOT NULL PRIMARY KEY,
    seed BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;
