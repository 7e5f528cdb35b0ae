-- Links between Markdown pages become links between HTML pages; those to other files lead into the tree, which is two
-- folders above the pages.  Pictures open in full size, and tables may be scrolled.

local root, folder = '', ''

local function read_metadata(meta)
	root = pandoc.utils.stringify(meta.root)
	folder = pandoc.utils.stringify(meta.folder)
end

local function follow(link)
	local path, anchor = link.target:match('^([^#]*)(.*)$')

	if path == '' or path:match('^%a+:') then
		return nil
	elseif path:match('%.md$') then
		link.target = path:gsub('%.md$', '.html') .. anchor
	else
		link.target = root .. '../../' .. folder .. '/' .. path .. anchor
	end
	return link
end

local function open_in_full_size(image)
	return pandoc.Link({image}, image.src)
end

local function scroll(table)
	return pandoc.Div({table}, pandoc.Attr('', {'table'}))
end

return {{Meta = read_metadata}, {Link = follow}, {Image = open_in_full_size, Table = scroll}}
