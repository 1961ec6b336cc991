-- What an endpoint's transform made of a message whose first try failed: every later try sends these bytes. They go
-- when the delivery is over.
CREATE TABLE shaped (
    endpoint integer NOT NULL,
    message bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (endpoint, message)
);
