-- Those who read along.

-- How far those got who read along.
CREATE TABLE poller (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    position TEXT NOT NULL,                 -- as `follow` gave it
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
