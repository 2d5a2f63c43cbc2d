-- Serves a changed certificate without a reload: looks at the mounted files and hands a new pair to HAProxy's own
-- runtime API, which takes it only as a whole. Arguments: certificate file, key file, admin socket.
--
-- Not by CertCache.set(): HAProxy 3.0's takes a key that does not belong to the certificate, and from then on every
-- handshake fails.

local certificate_file, key_file, admin_socket = ...

-- Between two looks. kubelet refreshes the mount within a second of the operator's touching the pod.
local LOOK_EVERY_MILLISECONDS = 2000

-- Who signs certificates that the operator makes (tls/self_signed.py).
local OWN_AUTHORITY = "ChatCluster self-signed authority"

-- For one command to the process itself.
local ANSWER_SECONDS = 5

local function read(path)
  local file = io.open(path, "rb")
  if not file then
    return ""
  end
  local text = file:read("a")
  file:close()
  return text or ""
end

-- The PEM blocks alone, without empty lines: an empty line would end the command that carries them.
local function pem(text)
  local blocks = {}
  for block in text:gmatch("%-%-%-%-%-BEGIN [%u%d ]+%-%-%-%-%-.-%-%-%-%-%-END [%u%d ]+%-%-%-%-%-") do
    blocks[#blocks + 1] = block:gsub("%s*\n%s*", "\n")
  end
  return table.concat(blocks, "\n")
end

-- HAProxy's answer to one command; raises where it gave none.
local function ask(command)
  local socket = core.tcp()
  socket:settimeout(ANSWER_SECONDS)
  local answer, failure
  if socket:connect("unix@" .. admin_socket) and socket:send(command .. "\n") then
    local whole, why, part = socket:receive("*a")
    answer, failure = whole or part, why
  end
  socket:close()
  if not answer or answer == "" then
    error("no answer from " .. admin_socket .. ": " .. tostring(failure), 0)
  end
  return answer
end

-- One JSON object; HAProxy's words name files and reasons, never what is in a key.
local function tell(level, result, words)
  local escaped = words:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""):gsub('[%c"\\]', "")
  core.log(level, string.format('{"event":"certificate","result":"%s","message":"%s"}', result, escaped))
end

local function swap(pair)
  local answer = ask("set ssl cert " .. certificate_file .. " <<\n" .. pair .. "\n")
  if answer:find("Transaction created", 1, true) then
    answer = ask("commit ssl cert " .. certificate_file)
    if answer:find("Success!", 1, true) then
      return
    end
    ask("abort ssl cert " .. certificate_file)
  end
  error(answer, 0)
end

-- Browsers are promised HTTPS for a year (HSTS), but never with a certificate of the operator's own authority: people
-- could then not pass the warning. The list is in memory alone, and the configuration looks into it.
local function promise(shown)
  core.del_acl("virt@hsts", "promised")
  if not shown:find("Issuer: /CN=" .. OWN_AUTHORITY .. "\n", 1, true) then
    core.add_acl("virt@hsts", "promised")
  end
end

-- Has a pair served; returns what it is, in words, and raises where it is not taken.
local function serve(pair)
  swap(pair)
  local shown = ask("show ssl cert " .. certificate_file)
  promise(shown)
  return string.format("serial %s, until %s", shown:match("Serial: (%x+)"), shown:match("notAfter: ([^\n]+)"))
end

core.register_task(function()
  local served, told
  while true do
    local pair = pem(read(certificate_file) .. "\n" .. read(key_file))
    if pair ~= served then
      -- The first time too: the files may have changed since HAProxy read them.
      local good, words = pcall(serve, pair)
      if good then
        served, told = pair, nil
        tell(core.info, "served", words)
      elseif words ~= told then
        -- It stays with the one it has, and tries again: a pair may be half written, or be mended.
        told = words
        tell(core.err, "refused", tostring(words))
      end
    end
    core.msleep(LOOK_EVERY_MILLISECONDS)
  end
end)
