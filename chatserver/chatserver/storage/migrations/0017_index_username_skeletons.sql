-- Finds usernames that look alike, and those that no server has compared yet.
-- oldest code: 1
-- transaction: none
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_username_skeleton ON users (username_skeleton);
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_without_skeleton ON users (user_id)
    WHERE username IS NOT NULL AND username_skeleton IS NULL;
