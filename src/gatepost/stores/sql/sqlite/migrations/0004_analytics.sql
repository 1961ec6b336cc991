-- What analytics counted, by minute, hour and day.
CREATE TABLE analytics (
    span INTEGER NOT NULL,                  -- seconds: 60, 3600, 86400
    time INTEGER NOT NULL,                  -- Unix seconds where the span begins
    part INTEGER NOT NULL,                  -- tells lots of the same span apart; 0 for what was rolled up
    route TEXT NOT NULL,
    consumer TEXT NOT NULL,
    status INTEGER NOT NULL,                -- its class; 0: no response
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    gateway BLOB NOT NULL,                  -- sketches of durations
    upstream BLOB NOT NULL,
    PRIMARY KEY (span, time, part, route, consumer, status)
) WITHOUT ROWID, STRICT;
