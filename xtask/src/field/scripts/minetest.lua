-- Has new parts of the world made, one at each step of the server, and kept by nobody.
local made = 0
local nobody_needs_it_any_more = function() end

minetest.register_globalstep(function()
	made = made + 1
	local x, z = (made % 300 - 150) * 80, (math.floor(made / 300) - 150) * 80
	local corner = {x = x, y = 0, z = z}
	minetest.emerge_area(corner, {x = x + 15, y = 15, z = z + 15}, nobody_needs_it_any_more)
end)
