-- Those who read along.

-- How far those got who read along.
CREATE TABLE poller (
    app integer NOT NULL,
    name text NOT NULL,
    position text NOT NULL,                 -- as `follow` gave it
    PRIMARY KEY (app, name)
);
