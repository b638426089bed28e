-- Pandoc filter: the cells of an executed notebook become a chapter of report.typ.
-- Markdown arrives as it was written, but for its formulas, which `typeset.markdown` has
-- made spans of hexadecimal digits. A cell that cannot be typeset stops the conversion
-- with "cell N: reason".

local MARKDOWN = "gfm+raw_attribute-emoji-alerts"
local COLUMNS = 88 -- that many characters of code fit on a line
local ACROSS = 100 -- that many characters of a table
local SHRUNK = 125 -- the same where it has shrunk as far as it may
local BREAKS = 60 -- a word of so many may break anywhere, see report.typ
local ROWS = 200 -- of an output; what is beyond them no reader of a page needs
local RULE = "#line(length: 100%, stroke: 0.5pt)"
local HANDED = {label = true, verdict = true, answer = true, provenance = true, listing = true}
local LONGEST = 10000 -- characters of a formula, its macros written out
local MACROS = 1000 -- that many in a formula
local KINDS = {Figure = true, Table = true}
local HOLDS = {["true"] = "true", ["false"] = "false"} -- else undecided
local cell, chapter, marker, headings = 0, "", "", {}
local depth, section, claims = 0, 0, pandoc.List() -- for the list of claims in the supplement

local function fail(message) error(("cell %d: %s\n"):format(cell, message), 0) end
local function raw(text) return pandoc.RawBlock("typst", text) end
local function raw_inline(text) return pandoc.RawInline("typst", text) end
local function write(blocks)
  return pandoc.write(pandoc.Pandoc(blocks), "typst", PANDOC_WRITER_OPTIONS)
end
local function quote(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

local function is_name(text) return text:match("^[%w_.-]+$") end

-- What a user wrote ---------------------------------------------------------------
-- It brings no code and no file along: what it has of raw text is shown as JupyterLab
-- shows it, and attributes, which pandoc would hand to Typst as code, are taken off.

local KEPT = {html = true, math = true, display = true}
local function attributes(el)
  local class = (el.classes or {})[1] or ""
  local code = el.t == "Code" or el.t == "CodeBlock"
  if not class:match("^%a[%w_-]*$") then class = class ~= "" and "code" or "" end
  el.attr = pandoc.Attr("", code and class ~= "" and {class} or {})
  return el
end
local function rows(list)
  for _, row in ipairs(list) do
    row.attr = pandoc.Attr()
    for _, one in ipairs(row.cells) do one.attr = pandoc.Attr() end
  end
end
local harmless = {
  RawBlock = function(el) return not KEPT[el.format] and pandoc.CodeBlock(el.text) or nil end,
  RawInline = function(el)
    if KEPT[el.format] then return nil end
    return {pandoc.Code(el.text), pandoc.Str("{=" .. el.format .. "}")}
  end,
  Table = function(t)
    rows(t.head.rows)
    rows(t.foot.rows)
    t.head.attr, t.foot.attr = pandoc.Attr(), pandoc.Attr()
    for _, body in ipairs(t.bodies) do
      body.attr = pandoc.Attr()
      rows(body.head)
      rows(body.body)
    end
    return attributes(t)
  end,
}
for _, name in ipairs{"Div", "Span", "Header", "Code", "CodeBlock", "Link", "Image", "Figure"} do
  harmless[name] = attributes
end
local function read(text, format)
  return pandoc.read(text .. "\n", format or MARKDOWN, nil, {}).blocks:walk(harmless)
end

-- Mathematics ---------------------------------------------------------------------
-- TeX that pandoc would misread, mended before; names that this Typst no longer
-- knows and spaces that pandoc rounds away, mended after.

local function spaced(cases) return (cases:gsub("([^\\])&", "%1&\\quad ")) end

local FONTS = {bf = true, rm = true, it = true, cal = true, sf = true, tt = true}
local function old_fonts(group) -- {\bf x}
  local inside = group:sub(2, -2):gsub("%b{}", old_fonts)
  local font, text = inside:match("^%s*\\(%a+)%s*(.*)$")
  return "{" .. (FONTS[font] and "\\math" .. font .. "{" .. text .. "}" or inside) .. "}"
end

local function uncoloured()
  io.stderr:write(("%s.ipynb, cell %d: the colour of a formula is left out\n"):format(
    chapter, cell))
  return ""
end

local before = {
  {"\\[bB]igg?[lrm]?%f[%A]", ""},
  {"\\|(.-)\\|", "\\lVert %1\\rVert "},
  {"\\left%s*\\lVert", "\\lVert"},
  {"\\right%s*\\rVert", "\\rVert"},
  {"\\left%s*<", "\\left\\langle "}, {"\\right%s*>", "\\right\\rangle "},
  {"\\operatorname(%*?)%s*{([^{}]*)}", function(star, name)
    return "\\text{op" .. star .. ":" .. name:gsub("\\[,;: ]", " ") .. "}"
  end},
  {"\\nonumber%f[%A]", ""}, {"\\notag%f[%A]", ""},
  {"\\begin{equation%*?}(.-)\\end{equation%*?}", "%1"},
  {"\\begin{(%a+)%*}", "\\begin{%1}"}, {"\\end{(%a+)%*}", "\\end{%1}"},
  -- Cases, whose columns stand apart.
  {"{dcases}", "{cases}"}, {"\\begin{cases}.-\\end{cases}", spaced},
  {"\\left%s*\\{%s*\\begin{array}.-\\end{array}%s*\\right%.", spaced},
  -- Matrices without brackets, which pandoc takes for lines of the formula.
  {"(\\left%s*\\?[^%s\\]%s*)\\begin{array}", "%1\\begin{fenced}"},
  {"\\begin{array}%s*%b{}(.-)\\end{array}", "\\begin{matrix}%1\\end{matrix}"},
  {"\\begin{fenced}", "\\begin{array}"}, {"{smallmatrix}", "{matrix}"},
  {"\\begin{matrix}", "\\begin{Bmatrix}\\text{bare:}"}, {"\\end{matrix}", "\\end{Bmatrix}"},
  -- An ampersand that is one.
  {"\\text%a*%s*%b{}", function(text) return (text:gsub("\\&", "\1")) end},
  {"\\&", "\\text{and:}"}, {"\1", "\\&"},
  {"\\cfrac%f[%A]", "\\frac"}, {"{,}", "\\text{,}"},
  {"\\require%s*%b{}", ""},
  {"\\color%s*%b{}", uncoloured}, {"\\textcolor%s*%b{}", uncoloured},
  {"%b{}", old_fonts},
}
for _, size in ipairs{"tiny", "small", "normalsize", "[lL]arge", "LARGE", "[hH]uge"} do
  table.insert(before, {"\\" .. size .. "%f[%A]", ""})
end
local after = {
  {"%.circle%f[%W]", ".o"},
  {"%f[%w]sect%f[%W]", "inter"},
  {"(%w)\\|", '%1 class("normal", |)'}, {"\\|", 'class("normal", |)'},
  {"(inset: 3pt, )%[%$ (.-) %$%]", "%1[$display(%2)$]"}, -- \boxed, which has no number
  {"#h%(%-1em%)", "#h(-0.1667em)"},
  {"#h%(0em%)", "thick"},
  {'mat%(delim: "{", upright%("bare:"%)', "mat(delim: #none,"},
  {'mat%(delim: ([^,]+), upright%("rules:([%d,]*);([%d,]*)"%)', function(delim, columns, rows)
    local function list(text) return "(" .. text .. (text ~= "" and "," or "") .. ")" end
    return ("mat(delim: %s, augment: #(vline: %s, hline: %s, stroke: 0.5pt),"):format(
      delim, list(columns), list(rows))
  end},
  {'upright%("and:"%)', "\\&"}, {'upright%(","%)', 'class("normal", ",")'}, -- {,} as in 1{,}000
  {'upright%("op:(.-)"%)', 'op("%1")'},
  {'upright%("op%*:(.-)"%)', 'op("%1", limits: #true)'},
}
-- Definitions of macros, which hold in all later formulas: name, default, what it means.
local macros = {}
local argument = "%s*%[(%d)%]"
local definitions = pandoc.List{}
for _, what in ipairs{"\\def%s*", "\\[re]*newcommand%s*%*?%s*", "\\DeclareMathOperator(%*?)%s*"} do
  for _, name in ipairs{"{%s*\\(%a+)%s*}", "\\(%a+)"} do
    for _, arguments in ipairs{argument .. "%s*(%b[])", argument, "([#%d]*)"} do
      definitions:insert(what .. name .. arguments .. "%s*(%b{})")
    end
  end
end

local function mend(text, rules)
  for _, rule in ipairs(rules) do text = text:gsub(rule[1], rule[2]) end
  return text
end

local function define(tex)
  for _, definition in ipairs(definitions) do
    tex = tex:gsub(definition, function(...)
      local found = pandoc.List{...}
      local star = definition:match("^\\Decl") and found:remove(1)
      local name, count, means = found[1], found[2]:match("%d?$"), found[#found]:sub(2, -2)
      if star then means = "\\operatorname" .. star .. "{" .. means .. "}" end
      means = (means .. "\0"):gsub("(\\%a+)([#\0])", "%1 %2"):gsub("\0", "") -- \a#1, not \ab
      local default = found[4] and found[3]:sub(2, -2)
      macros[name] = {default = default, count = tonumber(count) or 0, means = means}
      return ""
    end)
  end
  return tex
end

-- Write out the macros of a formula, each of which may bring others.
local function expand(tex)
  local at, used = 1, 0
  while true do
    local start, stop, name = tex:find("\\(%a+)", at)
    if not start then return tex end
    local macro = macros[name]
    at = macro and start or stop + 1
    if macro then
      used = used + 1
      if used > MACROS or #tex > LONGEST then fail("a formula whose macros have no end") end
      local given = {}
      for i = 1, macro.count do
        local _, last, found
        if i == 1 and macro.default then
          _, last, found = tex:find("^%s*(%b[])", stop + 1)
          if not last then last, found = stop, "[" .. macro.default .. "]" end
        else
          _, last, found = tex:find("^%s*(%b{})", stop + 1)
        end
        if last then
          found = found:sub(2, -2)
        else
          _, last, found = tex:find("^%s*(\\%a+)", stop + 1)
          if not last then _, last, found = tex:find("^%s*([^\\%s][\x80-\xbf]*)", stop + 1) end
        end
        if not last then fail("the macro \\" .. name .. " lacks an argument") end
        given[tostring(i)], stop = found, last
      end
      tex = tex:sub(1, start - 1) .. macro.means:gsub("#(%d)", given) .. tex:sub(stop + 1)
    end
  end
end

-- Rules of an array, | and \hline, stand as text in its first cell until Typst's matrix
-- takes them: "rules:", the columns before which there is one, ";", the rows.
local function ruled(tex)
  local out, open, at = pandoc.List(), pandoc.List(), 1
  while true do
    local start, stop, double, name = tex:find("\\(\\?)(%a*)", at)
    if not start then break end
    if double ~= "" then stop = start + 1 end
    local array, text = open[#open], tex:sub(at, stop)
    if double ~= "" then
      if array then array.row = array.row + 1 end
    elseif name == "hline" and array and array.place then
      if array.rows[#array.rows] ~= array.row then array.rows:insert(array.row) end
      text = tex:sub(at, start - 1)
    elseif name == "begin" then
      local _, last, columns = tex:find("^%s*{array}%s*(%b{})", stop + 1)
      array = {row = 0, rows = pandoc.List(), columns = pandoc.List()}
      if last then
        local column = 0
        for one in columns:sub(2, -2):gsub("[@!<>pmb]%b{}", ""):gmatch("[lcr|]") do
          if one ~= "|" then
            column = column + 1
          elseif array.columns[#array.columns] ~= column then
            array.columns:insert(column)
          end
        end
        text, stop = tex:sub(at, last), last
        array.place = #out + 2
      end
      open:insert(array)
      out:insert(text)
      text = ""
    elseif name == "end" and array then
      open:remove()
      local last = #out
      while last > 0 and array.place and not out[last]:match("%S") do last = last - 1 end
      if array.place and tex:sub(at, start - 1):match("^%s*$") then -- no row is begun
        out[last] = out[last]:gsub("\\\\$", "")
      end
      if array.place and #array.rows + #array.columns > 0 then
        out[array.place] = ("\\text{rules:%s;%s}"):format(
          table.concat(array.columns, ","), table.concat(array.rows, ",")) .. out[array.place]
      end
    end
    out:insert(text)
    at = stop + 1
  end
  return table.concat(out) .. tex:sub(at)
end

-- Take the numbers of a formula out of it: its labels and its tags, in brackets or
-- \tag*{bare}.
local function numbers(tex)
  local labels, tags = pandoc.List(), pandoc.List()
  tex = tex:gsub("\\label%s*{(.-)}", function(name) labels:insert(name); return "" end)
  tex = tex:gsub("\\tag(%*?)%s*(%b{})", function(bare, text)
    text = text:sub(2, -2)
    if text:find("[$\\]") then fail("a tag is plain text, not " .. text) end
    tags:insert(bare == "" and "(" .. text .. ")" or text)
    return ""
  end)
  return tex, labels, tags
end

-- Lines of a formula that no environment aligns stand one below the other.
local function stacked(tex)
  local bare = tex:gsub("\\begin%s*(%b{}).-\\end%s*%1", "")
  return bare:find("\\\\", 1, true) and "\\begin{gathered}" .. tex .. "\\end{gathered}" or tex
end

-- A name that Typst can read as a label.
local function labelled(name)
  return "<" .. (name == "" and "_" or name:gsub("[^%w_:.-]", "_")) .. ">"
end

-- The parts of a formula between marks, \\ or &, in no environment and no braces.
local function parts(tex, mark)
  local found, at, from, depth = pandoc.List(), 1, 1, 0
  while true do
    local start, stop = tex:find("[\\{}&]", at)
    if not start then return found .. {tex:sub(from)} end
    local sign = tex:sub(start, start)
    if sign == "\\" then
      stop = start + 1
      sign = tex:sub(start, stop)
    end
    if sign == mark and depth == 0 then
      found:insert(tex:sub(from, start - 1))
      from = stop + 1
    elseif sign == "{" or tex:find("^\\begin%f[%A]", start) then
      depth = depth + 1
    elseif sign == "}" or tex:find("^\\end%f[%A]", start) then
      depth = depth - 1
    end
    at = stop + 1
  end
end

local function equation(source, tex, display, label, tag, left)
  local bar = tex:find("{vmatrix}", 1, true) and '"|"' or '"‖"'
  local math = pandoc.Math(display and "DisplayMath" or "InlineMath",
    mend(stacked(ruled(tex)), before))
  local set = write{pandoc.Plain{math}}
  local body = mend(set, after):gsub('"||"', bar):match("^(%$.*%$)")
  if not set:match("^%$") or body:find('upright("rules:', 1, true) then
    fail("cannot read the formula " .. source:gsub("%s+", " "))
  end
  local how = "alt: " .. quote(source)
  if display then
    how = how .. ", block: true"
    if tag then how = how .. ", numbering: _ => " .. quote(tag) end
    if not tag and not label then how = how .. ", numbering: none" end
  end
  return ("#math.equation(%s, %s%s.body)%s"):format(
    how, left or "", body, label and " " .. labelled(label) or ";")
end

local ALIGNED = [[#context {
  let lefts = (%s,)
  let wide = calc.max(..lefts.map(it => measure(it).width))
  let lead(i) = box(width: wide, align(right, lefts.at(i)))
  show math.equation.where(block: true): set align(left)
  [%s]
};]]

local function formula(kind, source)
  local name = source:match("^%s*\\e?q?ref%s*{(.-)}%s*$")
  if name then return raw_inline("#ref(" .. labelled(name) .. ");") end
  if #source > LONGEST then fail("a formula of " .. #source .. " characters") end
  local tex = define(source)
  if not tex:match("%S") then return {} end
  tex = expand(tex)
  local display, bare, labels, tags = kind == "display", numbers(tex)
  if #labels < 2 and #tags < 2 then
    return raw_inline(equation(source, bare, display, labels[1], tags[1]))
  end
  -- Each line has a number of its own; what stands before its & is as wide as others'.
  local lefts, set = pandoc.List(), pandoc.List()
  for _, line in ipairs(parts(tex:gsub("^%s*\\begin%s*%b{}", ""):gsub("\\end%s*%b{}%s*$", ""), "\\\\")) do
    bare, labels, tags = numbers(line)
    if #labels > 1 or #tags > 1 then fail("a line with several labels or tags") end
    local columns = parts(bare, "&")
    local left = #columns > 1 and columns:remove(1) or ""
    local right = table.concat(columns, "\\quad ")
    if left:match("%S") or right:match("%S") then
      lefts:insert("[" .. (left:match("%S") and equation(left, left) or "") .. "]")
      set:insert(equation(line, right:match("%S") and right or "{}", true, labels[1], tags[1],
        ("lead(%d) + "):format(#lefts - 1)))
    end
  end
  return raw_inline(ALIGNED:format(table.concat(lefts, ", "), table.concat(set, "\n")))
end

-- Inlines and blocks wherever they stand ------------------------------------------

local function hexadecimal(text)
  return (text:gsub("%x%x", function(two) return string.char(tonumber(two, 16)) end))
end

local function html(el)
  local tag = el.text:match("^</?(%a+)")
  if el.text:match("^<!%-%-") or tag == "a" and not el.text:match("href") then return {} end
  local block = el.t == "RawBlock"
  if tag == "br" then return block and {} or pandoc.LineBreak() end
  if tag == "hr" then return (block and raw or raw_inline)(RULE) end
  fail("raw HTML cannot be printed: " .. el.text:match("^[^\n]*"))
end

-- In code, or in an address, a formula is as it was written.
local function restore(text)
  return (text:gsub("`(%x+)`{=(%a+)}", function(digits, kind)
    local tex = hexadecimal(digits)
    if kind == "display" and not tex:match("^\\begin") then return "$$" .. tex .. "$$" end
    return kind == "math" and not tex:match("^\\e?q?ref") and "$" .. tex .. "$" or tex
  end))
end

local function restored(el)
  el.text = restore(el.text)
  return el
end

local function raw_text(el)
  if el.format == "math" or el.format == "display" then
    return formula(el.format, hexadecimal(el.text))
  elseif el.format == "html" then
    return html(el)
  end
end

-- "Figure `name`" and "Table `name`" become links that read "Figure 2.3".
local function references(inlines)
  local found = pandoc.List()
  for i, el in ipairs(inlines) do
    local word, space = inlines[i - 2], inlines[i - 1]
    local kind = el.t == "Code" and is_name(el.text) and word and word.t == "Str" and word.text:match("%a+$")
    if KINDS[kind] and (space.t == "Space" or space.t == "SoftBreak") then
      found:remove()
      found:remove()
      local rest = word.text:sub(1, -#kind - 1)
      if rest ~= "" then found:insert(pandoc.Str(rest)) end
      found:insert(raw_inline("#ref(<" .. el.text .. ">);"))
    else
      found:insert(el)
    end
  end
  return found
end

-- The exporter finds the picture and puts its file's name here.
local function image(img)
  local alt = pandoc.utils.stringify(img.caption)
  if alt == "" then alt = img.src:sub(1, 80) end
  local source = img.src:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  return raw_inline(('#image("%s:%d:%s", alt: %s);'):format(marker, cell, source, quote(alt)))
end

-- Headings are named as JupyterLab names them, for links within the notebook.
local function anchor(text) return chapter .. "#" .. text:gsub(" ", "-") end

local function heading(h)
  if #h.content == 0 then return {} end
  depth = math.min(h.level, depth + 1) -- none is skipped
  local inlines = pandoc.Inlines{raw_inline(("#heading(level: %d)["):format(depth))}
  inlines:extend(h.content)
  local name = anchor(pandoc.utils.stringify(h))
  local first = headings[name] ~= "set" -- of several a link leads to the first
  headings[name] = "set"
  inlines:insert(raw_inline("]" .. (first and " #label(" .. quote(name) .. ")" or "")))
  return pandoc.Plain(inlines)
end

local function link(l)
  l.target = restore(l.target)
  local name = l.target:match("^#(.*)$")
  if not name then return l end
  name = anchor(name:gsub("%%(%x%x)", function(two) return string.char(tonumber(two, 16)) end))
  if not headings[name] then return l.content end
  local text = pandoc.Inlines{raw_inline("#link(label(" .. quote(name) .. "))[")}
  text:extend(l.content)
  text:insert(raw_inline("];"))
  return text
end

-- A formula in a word takes as many characters as its source, or fewer.
local function formulas(el)
  local alt = el.format == "typst" and el.text:match('alt: "(.-)"') or ""
  return pandoc.Str(("\2"):rep(#alt))
end

-- How many characters the columns of a table take: their text without formulas, and
-- their longest words with them.
local function measured(t)
  local widths, words, rows = pandoc.List(), pandoc.List(), pandoc.List(t.head.rows):clone()
  for _, body in ipairs(t.bodies) do rows:extend(body.body) end
  for _, row in ipairs(rows) do
    for i, one in ipairs(row.cells) do
      local text = pandoc.utils.stringify(one.contents)
      widths[i] = math.max(widths[i] or 0, pandoc.text.len(text) + 3)
      text = pandoc.utils.stringify(pandoc.Blocks(one.contents):walk{RawInline = formulas})
      for word in text:gmatch("%S+") do
        local length = pandoc.text.len(word)
        if length >= BREAKS and not word:find("\2") then length = BREAKS / 3 end
        words[i] = math.max(words[i] or 3, length + 3)
      end
    end
  end
  return widths, words
end

-- A table as it is, or, if its text is too wide for the page and can be wrapped, with
-- columns that share the page: each has room for its longest word, then for its text.
local function plain_table(t)
  if t.identifier == "" then t.classes = {"typst:no-figure"} end
  local room, total, wanted, widths, words = ACROSS, 0, 0, measured(t)
  for i = 1, #t.colspecs do
    words[i], widths[i] = words[i] or 3, widths[i] or 3
    room, total = room - words[i], total + widths[i]
    wanted = wanted + math.max(0, widths[i] - words[i])
  end
  local wraps = total > SHRUNK and room >= 0
  for i, c in ipairs(t.colspecs) do
    local share = words[i] + room * math.max(0, widths[i] - words[i]) / wanted
    t.colspecs[i] = {c[1], wraps and share / ACROSS or nil}
  end
  return t
end

local typeset

local function metadata(name, json)
  local value = pandoc.json.decode(json, false)
  if type(value) ~= (name == "listing" and "string" or "table") then
    fail("metadata of a " .. name .. " cannot be " .. json)
  end
  local function set(text)
    return (write(typeset(read(tostring(text)))):gsub("%s+$", ""))
  end
  if name == "provenance" then
    return raw(("#metadata(json(bytes(%s))) <provenance>"):format(quote(json)))
  elseif name == "listing" then
    return raw(("#block[#raw(%s)] <listing-file>"):format(quote(value)))
  end
  local fields = pandoc.List()
  for key, text in pairs(value) do
    local set_as = type(text) == "string" and key ~= "item" and key ~= "evidence"
      and key ~= "kind" and "[" .. set(text) .. "]"
    set_as = set_as or (type(text) == "string" and quote(text))
      or HOLDS[tostring(text)] or "none"
    if not key:match("^%a[%w_-]*$") then fail(("metadata of a %s has no key %s"):format(name, key)) end
    fields:insert(key .. ": " .. set_as)
  end
  fields:sort()
  local entry = table.concat(fields, ", ")
  if name == "verdict" then
    claims:insert(("(%s, section: %s),"):format(entry,
      quote((chapter:match("^%d+") or "") .. (section > 0 and "." .. section or ""))))
  end
  return raw(("#metadata((%s)) <%s>"):format(entry, name))
end

local function folded(code)
  if code.classes[1] == "mermaid" then fail("a diagram cannot be printed: save a picture of it") end
  local lines = pandoc.List()
  for line in (restored(code).text:gsub("\n+$", "") .. "\n"):gmatch("(.-)\n") do
    local start, more, mark = 1, utf8.offset(line, COLUMNS + 1), ""
    while more and more <= #line do
      lines:insert(mark .. line:sub(start, more - 1))
      mark, start, more = "↪ ", more, utf8.offset(line, COLUMNS - 1, more)
    end
    lines:insert(mark .. line:sub(start))
  end
  code.text = table.concat(lines, "\n")
  return code
end

local everywhere = {
  Inlines = references, RawInline = raw_text, RawBlock = raw_text, Image = image,
  Header = heading, Link = link, Table = plain_table, CodeBlock = folded, Code = restored,
  Str = restored,
  Math = function(m)
    return formula(m.mathtype == "DisplayMath" and "display" or "math", m.text)
  end,
  HorizontalRule = function() return raw(RULE) end,
}
typeset = function(blocks)
  return pandoc.Blocks(blocks):walk(everywhere)
end

-- Outputs -------------------------------------------------------------------------

local function drop() return {} end

-- Give every row of a table a cell for every column: what spans columns is repeated in
-- each of them, what spans rows stands in the first.
local function grid(rows)
  local open = {} -- column: how many rows the cell above it still covers
  for _, row in ipairs(rows) do
    local cells = pandoc.List()
    local function skip()
      while (open[#cells + 1] or 0) > 0 do
        open[#cells + 1] = open[#cells + 1] - 1
        cells:insert(pandoc.Cell({}))
      end
    end
    for _, one in ipairs(row.cells) do
      skip()
      local across, down = one.col_span, one.row_span
      for _ = 1, across do
        open[#cells + 1] = down - 1
        cells:insert(pandoc.Cell(one.contents, one.alignment))
      end
    end
    skip()
    row.cells = cells
  end
  return rows
end

-- A table too wide for the page, such as a data frame, is split by its columns; each
-- part repeats the heads of the rows. One too long is cut, which is said.
local function split(t)
  local note, shown = pandoc.List(), pandoc.List(t.caption.long)
  t.identifier, t.caption = "", {long = {}}
  for _, body in ipairs(t.bodies) do
    local beyond = #body.body - ROWS
    for _ = 1, beyond do body.body:remove() end
    if beyond > 0 then note:insert(pandoc.Para("… " .. beyond .. " more rows are left out")) end
  end
  local whole, heads = t:clone(), 1
  t.head.rows = grid(t.head.rows)
  for _, body in ipairs(t.bodies) do
    heads = math.max(heads, body.row_head_columns)
    body.body = grid(body.body)
  end
  local widths = measured(t)
  local parts, across, repeated = pandoc.List{{}}, 0, 0
  for i = 1, heads do repeated = repeated + (widths[i] or 0) end
  for i = heads + 1, #widths do
    if across + widths[i] > ACROSS - repeated and #parts[#parts] > 0 then
      parts:insert({})
      across = 0
    end
    across = across + widths[i]
    table.insert(parts[#parts], i)
  end
  if #parts == 1 then return shown .. {whole} .. note end
  return shown .. parts:map(function(part)
    local one = t:clone()
    local function keep(list)
      local kept = pandoc.List()
      for i = 1, heads do kept:insert(list[i]) end
      for _, i in ipairs(part) do kept:insert(list[i]) end
      return kept
    end
    one.colspecs = keep(t.colspecs)
    local function narrow(rows)
      return pandoc.List(rows):map(function(row) row.cells = keep(row.cells); return row end)
    end
    one.head.rows = narrow(one.head.rows)
    for _, body in ipairs(one.bodies) do body.body = narrow(body.body) end
    return one
  end) .. note
end

-- Return the blocks of an output and, apart from them, what its metadata hands over.
local function output(div)
  if div.classes:includes("stderr") then div.content[1].classes = {"stderr"} end
  local blocks, handed = pandoc.Blocks{}, {}
  for _, block in ipairs(div.content) do
    if block.t == "RawBlock" then
      local html = block.format == "html"
      local got = read(block.text, html and "html" or MARKDOWN)
      if html then got = got:walk{RawBlock = drop, RawInline = drop} end
      blocks:extend(got)
    else
      blocks:insert(block)
    end
  end
  while blocks[1] and blocks[1].t == "CodeBlock" and HANDED[blocks[1].classes[1]] do
    handed[blocks[1].classes[1]] = blocks[1].text
    blocks:remove(1)
  end
  return blocks, handed
end

-- The figure or table called `name`, with its caption.
local function captioned(blocks, name, caption)
  local kind, done
  local function once(found)
    if done then return nil end
    kind, done = found, true
    return true
  end
  blocks = blocks:walk{
    Para = function(p)
      if #p.content == 1 and p.content[1].t == "Image" and once("Figure") then
        return pandoc.Figure({pandoc.Plain(p.content)}, caption.blocks, {name})
      end
    end,
    Table = function(t)
      if once("Table") then
        t.identifier, t.caption = name, {long = caption.blocks}
        return t
      end
    end,
  }
  if kind ~= caption.kind then
    fail(("%s is a %s, its caption says %s"):format(name, kind, caption.kind))
  end
  return blocks
end

local function has_tag(div, tag)
  return (div.attributes.tags or ""):find('"' .. tag .. '"', 1, true)
end

local function code_cell(div, caption)
  local function tagged(tag) return has_tag(div, tag) end
  if tagged("remove-cell") then return {} end
  local source, shown, named = div.content[1].text, pandoc.List(), false
  local hidden = tagged("hide-input")
    or (div.attributes.jupyter or ""):find('"source_hidden"%s*:%s*true')
  if not hidden and source:match("%S") then
    shown:insert(pandoc.CodeBlock(source, {class = "python"}))
  end
  if tagged("hide-output") then return shown end
  for i = 2, #div.content do
    local blocks, handed = output(div.content[i])
    local name = handed.label and pandoc.json.decode(handed.label, false)
    if name then
      if not (type(name) == "string" and is_name(name)) then fail("no name: " .. handed.label) end
      if not caption or caption.name ~= name then
        fail(("%s has no caption: the next cell must begin with **Figure `%s`.** or "
          .. "**Table `%s`.**"):format(name, name, name))
      end
      blocks, named = captioned(blocks, name, caption), true
    else
      blocks = blocks:walk{Table = split}
    end
    if handed.provenance then blocks = pandoc.Blocks{} end -- the last page shows it
    if handed.listing then blocks = pandoc.Blocks{blocks[#blocks]} end
    for _, kind in ipairs{"listing", "provenance", "answer", "verdict"} do
      if handed[kind] then blocks:insert(1, metadata(kind, handed[kind])) end
    end
    for _, kind in ipairs{"answer", "verdict"} do
      if handed[kind] then
        blocks:insert(1, raw("#block["))
        blocks:insert(raw("] <" .. kind .. "-box>"))
      end
    end
    shown:extend(blocks)
  end
  if caption and not named then
    fail(("the cell shows no figure or table called %s, as its caption says")
      :format(caption.name))
  end
  return shown
end

-- The chapter ---------------------------------------------------------------------

-- A cell that begins with **Figure `name`.** is the caption of the cell before it.
local function caption_of(blocks)
  local first = blocks[1] and blocks[1].t == "Para" and blocks[1].content[1]
  if not first or first.t ~= "Strong" then return nil end
  local word, _, code = table.unpack(first.content)
  if not KINDS[word.text] or not code or code.t ~= "Code" then return nil end
  if #blocks > 1 then fail("a caption is one paragraph, in a cell of its own") end
  local rest = pandoc.List(blocks[1].content)
  rest:remove(1)
  if rest[1] and rest[1].t == "Space" then rest:remove(1) end
  return {kind = word.text, name = code.text, blocks = pandoc.Blocks{pandoc.Para(rest)}}
end

local function content_of(div, i, doc, texts, captions)
  if div.classes:includes("code") then return code_cell(div, captions[i + 1]) end
  if div.classes:includes("raw") then
    return div.content[1] and {pandoc.CodeBlock(div.content[1].text)} or {}
  end
  if captions[i] then
    local before_it = doc.blocks[i - 1]
    if not before_it or not before_it.classes:includes("code") then
      fail("a caption without a code cell before it")
    end
    return {}
  end
  for _, block in ipairs(texts[i] or {}) do
    if block.t == "Header" and block.level == 2 then section = section + 1 end
  end
  return texts[i] or {}
end

-- Whatever goes wrong in a cell is said with its number.
local function in_cell(number, f)
  cell = number
  local done, result = pcall(f)
  if done then return result end
  local said = tostring(result)
  if said:match("^cell %d+: ") then error(said, 0) end
  fail("cannot be typeset: " .. said:match("[^\n]*"):gsub("^.-%.lua:%d+: ", ""))
end

function Pandoc(doc)
  chapter = pandoc.utils.stringify(doc.meta.chapter or "")
  marker = pandoc.utils.stringify(doc.meta.marker or "")
  local names = pandoc.List()
  for _, author in ipairs((doc.meta.jupyter or {}).authors or {}) do
    names:insert(quote(pandoc.utils.stringify(author)) .. ",")
  end
  local texts, captions = {}, {}
  for i, div in ipairs(doc.blocks) do
    if div.classes:includes("markdown") and not has_tag(div, "remove-cell") then
      in_cell(i, function()
        texts[i] = read(div.content[1] and div.content[1].text or "")
        captions[i] = caption_of(texts[i])
        texts[i]:walk{Header = function(h) headings[anchor(pandoc.utils.stringify(h))] = true end}
      end)
    end
  end
  local blocks = pandoc.Blocks{}
  if not next(headings) then blocks:extend(typeset{pandoc.Header(1, chapter)}) end
  for i, div in ipairs(doc.blocks) do
    in_cell(i, function()
      blocks:insert(raw("// cell " .. cell))
      blocks:extend(typeset(content_of(div, i, doc, texts, captions)))
    end)
  end
  blocks:insert(1, raw("#let authors = (" .. table.concat(names, " ") .. ")"))
  blocks:insert(2, raw("#let claims = (" .. table.concat(claims, " ") .. ")"))
  return pandoc.Pandoc(blocks)
end
