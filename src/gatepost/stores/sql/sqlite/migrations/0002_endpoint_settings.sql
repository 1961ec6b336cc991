-- What an endpoint may ask for beyond its URL and filters.
ALTER TABLE endpoint ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
