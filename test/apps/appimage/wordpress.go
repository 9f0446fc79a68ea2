package appimage

import "github.com/porthole-run/porthole/test/registry/debimage"

// WordPress is WordPress with Apache and PHP. Its code stays in the image; wp-content is
// at /data/wp-content, and the database at the address in the environment's WP_DB.
var WordPress = App{
	Name:     "wordpress",
	Packages: []string{"wordpress", "wordpress-theme-twentytwentythree", "php8.2-cli", "php8.2-mysql", "php8.2-xml", "libapache2-mod-php8.2", "curl"},
	Omit: []string{"apache2-utils", "default-mysql-client", "mariadb-client", "mariadb-client-core", "libconfig-inifiles-perl",
		"fonts-dejavu-core", "psmisc", "openssl", "php8.2-gd", "php-gd", "libgd3", "libaom3", "libavif15", "libheif1", "libx265-199",
		"librav1e0", "libsvtav1enc1", "libdav1d6", "libgav1-1", "libde265-0"},
	User: "www-data", UID: 33,
	Files: map[string]debimage.File{
		"etc/apache2/porthole.conf":         {Content: apacheConf},
		"etc/php/8.2/cli/conf.d/wp.ini":     {Content: phpConf},
		"etc/php/8.2/apache2/conf.d/wp.ini": {Content: phpConf},
		"etc/wordpress/config-default.php":  {Content: wpConfig},
		"run/apache2":                       owned(33),
		"var/log/apache2":                   owned(33),
	},
}

const apacheConf = `ServerRoot /etc/apache2
ServerName localhost
Listen 127.0.0.1:8080
PidFile /run/apache2/apache2.pid
Mutex file:/run/apache2 default
ErrorLog "|$cat 1>&2"
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule php_module /usr/lib/apache2/modules/libphp8.2.so
StartServers 1
MinSpareServers 1
MaxSpareServers 2
MaxRequestWorkers 4
TypesConfig /dev/null
AddType text/css .css
AddType text/plain .txt
AddType image/png .png
DocumentRoot /usr/share/wordpress
DirectoryIndex index.php
Alias /wp-content /data/wp-content
<FilesMatch "\.php$">
	SetHandler application/x-httpd-php
</FilesMatch>
<Directory />
	Require all granted
	Options FollowSymLinks
</Directory>
`

const phpConf = `extension=mysqlnd.so
extension=mysqli.so
extension=dom.so
extension=xml.so
extension=ctype.so
extension=fileinfo.so
extension=tokenizer.so
max_execution_time=0
`

const wpConfig = `<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', 'wordpress');
define('DB_HOST', '127.0.0.1:3306');
define('DB_CHARSET', 'utf8mb4');
define('WP_CONTENT_DIR', '/data/wp-content');
define('WP_HOME', 'http://127.0.0.1:8080');
define('WP_SITEURL', 'http://127.0.0.1:8080');
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_DEBUG', false);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) {
	define('ABSPATH', '/usr/share/wordpress/');
}
require_once ABSPATH . 'wp-settings.php';
`
