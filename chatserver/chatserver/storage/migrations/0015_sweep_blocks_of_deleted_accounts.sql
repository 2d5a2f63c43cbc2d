-- Has accounts swept once more that were deleted before the sweep ended the blocks against them.
-- oldest code: 1

INSERT INTO account_deletions (user_id, deleted_at)
SELECT u.user_id, u.deleted_at FROM users u
WHERE u.deleted_at IS NOT NULL AND EXISTS (
    SELECT FROM blocks b JOIN users blocker ON blocker.user_id = b.blocker_id
    WHERE b.blocked_id = u.user_id AND blocker.deleted_at IS NULL)
ON CONFLICT DO NOTHING;
