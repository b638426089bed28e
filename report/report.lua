-- Pandoc filter: the cells of an executed notebook become a chapter of report.typ.
-- A cell that cannot be typeset stops the conversion with "cell N: reason".

local MARKDOWN = "gfm+tex_math_dollars+attributes"
local COLUMNS = 88 -- that many characters of code fit on a line
local OPTIONS = {label = true, ["fig-cap"] = true, ["fig-alt"] = true,
                 ["tbl-cap"] = true, echo = true}
local HANDED = {verdict = true, answer = true, provenance = true}
local HOLDS = {["true"] = "true", ["false"] = "false"} -- else undecided
local cell = 0

local function fail(message) error(("cell %d: %s\n"):format(cell, message), 0) end
local function raw(text) return pandoc.RawBlock("typst", text) end
local function raw_inline(text) return pandoc.RawInline("typst", text) end
local function write(blocks)
  return pandoc.write(pandoc.Pandoc(blocks), "typst", PANDOC_WRITER_OPTIONS)
end
local function read(text) return pandoc.read(text .. "\n", MARKDOWN).blocks end
local function quote(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

-- Mathematics ---------------------------------------------------------------------
-- TeX that pandoc would misread, mended before; names that this Typst no longer
-- knows and spaces that pandoc rounds away, mended after.

local before = {
  {"\\[bB]igg?[lrm]?%f[%A]", ""},
  {"\\|(.-)\\|", "\\lVert %1\\rVert "},
  {"\\left%s*\\lVert", "\\lVert"},
  {"\\right%s*\\rVert", "\\rVert"},
  {"\\operatorname(%*?)%s*{([^{}]*)}", function(star, name)
    return "\\text{op" .. star .. ":" .. name:gsub("\\[,;: ]", " ") .. "}"
  end},
}
local after = {
  {"%.circle%f[%W]", ".o"},
  {"%f[%w]sect%f[%W]", "inter"},
  {"\\|", 'class("normal", |)'},
  {"#h%(%-1em%)", "#h(-0.1667em)"},
  {"#h%(0em%)", "thick"},
  {'upright%("op:(.-)"%)', 'op("%1")'},
  {'upright%("op%*:(.-)"%)', 'op("%1", limits: #true)'},
}

local function mend(text, rules)
  for _, rule in ipairs(rules) do text = text:gsub(rule[1], rule[2]) end
  return text
end

local function math(formula)
  local label = formula.text:match("^\\eqref{(.-)}$")
  if label then return raw_inline("#ref(<" .. label .. ">);") end
  local bar = formula.text:find("{vmatrix}", 1, true) and '"|"' or '"‖"'
  local tex = pandoc.Math(formula.mathtype, mend(formula.text, before))
  local set = write{pandoc.Plain{tex}}
  if not set:match("^%$") then fail("cannot read the formula " .. formula.text) end
  local body, name = mend(set, after):gsub('"||"', bar):match("^(%$.*%$)(.-)$")
  local how = "alt: " .. quote(formula.text)
  if formula.mathtype == "DisplayMath" then
    how = how .. ", block: true" .. (name == "" and ", numbering: none" or "")
  end
  return raw_inline(("#math.equation(%s, %s.body);%s"):format(how, body, name))
end

-- Inlines and blocks wherever they stand ------------------------------------------

local function reference(cite)
  local refs = pandoc.List()
  for i, key in ipairs(cite.citations) do
    if not key.id:match("^%l+%-") then return cite.content end
    refs:extend{raw_inline((i > 1 and ", " or "") .. "#ref(<" .. key.id .. ">);")}
  end
  return refs
end

local function image(img)
  local alt = pandoc.utils.stringify(img.caption)
  if alt == "" then fail("a picture without alternative text (#| fig-alt:)") end
  return raw_inline(("#image(%s, alt: %s);"):format(quote(img.src), quote(alt)))
end

local function heading(h)
  if not h.identifier:match("^sec%-") then h.identifier = "" end
  return h
end

local function as_wide_as_needed(t)
  t.colspecs = t.colspecs:map(function(c) return {c[1], nil} end)
  if t.identifier == "" then t.classes = {"typst:no-figure"} end
  return t
end

local function no_html(el)
  if el.format == "html" then fail("raw HTML cannot be printed: " .. el.text) end
end

local function metadata(name, json)
  local value = pandoc.json.decode(json, false)
  local function set(text)
    return write(read(tostring(text)):walk{Math = math, RawInline = no_html})
  end
  if name == "provenance" then
    return raw(("#metadata(json(bytes(%s))) <provenance>"):format(quote(json)))
  elseif name == "answer" then
    return raw(("#metadata((item: %s, question: [%s], answer: [%s], number: [%s])) <answer>")
      :format(quote(value.item), set(value.question), set(value.answer), set(value.number)))
  end
  return raw(("#metadata((item: %s, holds: %s, claim: [%s], number: [%s])) <verdict>")
    :format(quote(tostring(value.item)), HOLDS[tostring(value.holds)] or "none",
      set(value.claim), set(value.number)))
end

local function folded(code)
  if HANDED[code.classes[1]] then
    return metadata(code.classes[1], code.text)
  end
  local lines = pandoc.List()
  for line in (code.text:gsub("\n+$", "") .. "\n"):gmatch("(.-)\n") do
    while pandoc.text.len(line) > COLUMNS do
      lines:insert(pandoc.text.sub(line, 1, COLUMNS))
      line = "↪ " .. pandoc.text.sub(line, COLUMNS + 1)
    end
    lines:insert(line)
  end
  code.text = table.concat(lines, "\n")
  return code
end

local everywhere = {
  Math = math, Cite = reference, Image = image, Header = heading,
  Table = as_wide_as_needed, CodeBlock = folded, RawBlock = no_html,
  RawInline = no_html,
}

local function drop() return {} end

-- Code cells ----------------------------------------------------------------------

-- The leading "#| key: value" lines of a cell; "#|   more" continues a value.
local function options(source)
  local found, last = {}, nil
  while source:match("^#|") do
    local line, rest = source:match("^#|([^\n]*)\n?(.*)$")
    local key, value = line:match("^ ?([%a-]+): *(.-) *$")
    if not key and last then
      found[last] = found[last] .. " " .. line:match("^%s*(.-)%s*$")
    elseif OPTIONS[key] then
      found[key], last = value, key
    else
      fail("unknown option #|" .. line)
    end
    source = rest
  end
  for key, value in pairs(found) do
    found[key] = value:match('^"(.*)"$') or value:match("^'(.*)'$") or value
  end
  return found, source
end

-- The figure or table of a labelled cell, with its caption.
local function captioned(blocks, given)
  local kind = (given.label or ""):match("^(%l+)%-")
  local caption = given[tostring(kind) .. "-cap"]
  if given.label and not caption then
    fail(given.label .. " has no caption (#| fig-cap: or #| tbl-cap:)")
  elseif not given.label and (given["fig-cap"] or given["tbl-cap"]) then
    fail("a caption without a label (#| label:)")
  end
  local number = 0
  local function once() number = number + 1; return number == 1 end
  blocks = blocks:walk{
    Image = function(img)
      if given["fig-alt"] then img.caption = given["fig-alt"] end
      return img
    end,
  }:walk{
    Para = function(p)
      if kind == "fig" and p.content[1].t == "Image" and once() then
        return pandoc.Figure({pandoc.Plain(p.content)}, read(caption), {given.label})
      end
    end,
    Table = function(t)
      if kind == "tbl" and once() then
        t.identifier, t.caption = given.label, {long = read(caption)}
        return t
      end
    end,
  }
  if kind and number ~= 1 then
    fail(("%s wants exactly one output to name, found %d"):format(given.label, number))
  end
  return blocks
end

local function output(div)
  if div.classes:includes("stderr") then div.content[1].classes = {"stderr"} end
  local blocks = pandoc.List()
  for _, block in ipairs(div.content) do
    if block.t == "RawBlock" then
      local format = block.format == "markdown" and MARKDOWN or block.format
      local got = pandoc.read(block.text .. "\n", format).blocks
      if format == "html" then got = got:walk{RawBlock = drop, RawInline = drop} end
      blocks:extend(got)
    else
      blocks:insert(block)
    end
  end
  local handed = blocks[1] and blocks[1].t == "CodeBlock" and blocks[1].classes[1]
  if handed == "verdict" or handed == "answer" then
    blocks:insert(1, raw("#block["))
    blocks:insert(raw("] <" .. handed .. "-box>"))
  elseif handed == "provenance" then
    blocks = pandoc.Blocks{blocks[1]} -- the appendix shows it
  end
  return blocks
end

local function code_cell(div)
  local tags = div.attributes.tags or ""
  local function tagged(tag) return tags:find('"' .. tag .. '"', 1, true) end
  if tagged("remove-cell") then return {} end
  local given, source = options(div.content[1].text)
  local shown, blocks = pandoc.List(), pandoc.Blocks{}
  if not tagged("hide-input") and given.echo ~= "false" and source:match("%S") then
    shown:insert(pandoc.CodeBlock(source, {class = "python"}))
  end
  if not tagged("hide-output") then
    for i = 2, #div.content do blocks:extend(output(div.content[i])) end
    shown:extend(captioned(blocks, given))
  end
  return shown
end

-- The chapter ---------------------------------------------------------------------

function Pandoc(doc)
  local names = pandoc.List()
  for _, author in ipairs((doc.meta.jupyter or {}).authors or {}) do
    names:insert(quote(pandoc.utils.stringify(author.name)) .. ",")
  end
  local blocks = pandoc.Blocks{raw("#let authors = (" .. table.concat(names, " ") .. ")")}
  for i, div in ipairs(doc.blocks) do
    cell = i
    local content = pandoc.Blocks(div.content)
    if div.classes:includes("code") then content = code_cell(div) end
    if div.classes:includes("raw") then content = pandoc.Blocks{} end
    blocks:insert(raw("// cell " .. cell))
    blocks:extend(pandoc.Blocks(content):walk(everywhere))
  end
  return pandoc.Pandoc(blocks)
end
