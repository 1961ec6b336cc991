-- What analytics counted, by minute, hour and day.
CREATE TABLE analytics (
    span integer NOT NULL,                  -- seconds: 60, 3600, 86400
    time bigint NOT NULL,                  -- Unix seconds where the span begins
    part bigint NOT NULL,                  -- tells lots of the same span apart; 0 for what was rolled up
    route text COLLATE "C" NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    status integer NOT NULL,                -- its class; 0: no response
    requests bigint NOT NULL,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    gateway bytea NOT NULL,                  -- sketches of durations
    upstream bytea NOT NULL,
    PRIMARY KEY (span, time, part, route, consumer, status)
);
