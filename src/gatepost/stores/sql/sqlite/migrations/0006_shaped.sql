-- What an endpoint's transform made of a message whose first try failed: every later try sends these bytes. They go
-- when the delivery is over.
CREATE TABLE shaped (
    endpoint INTEGER NOT NULL,
    message INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (endpoint, message)
) WITHOUT ROWID;
