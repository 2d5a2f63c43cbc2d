-- Makes room for what is the same for all usernames that look alike, which the server makes (UTS #39).
-- oldest code: 1

-- Null until a server has compared a username: those from before, and those that an older release stores beside.
ALTER TABLE users ADD COLUMN username_skeleton text;

CREATE FUNCTION forget_username_skeleton() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.username_skeleton := NULL;
    RETURN NEW;
END
$$;

-- An older release, and the deletion of an account, set a username without its skeleton.
CREATE TRIGGER forget_username_skeleton BEFORE UPDATE OF username ON users FOR EACH ROW
WHEN (NEW.username IS DISTINCT FROM OLD.username AND NEW.username_skeleton IS NOT DISTINCT FROM OLD.username_skeleton)
EXECUTE FUNCTION forget_username_skeleton();
